"""What the tasks of delta networks share, whatever they predict."""
