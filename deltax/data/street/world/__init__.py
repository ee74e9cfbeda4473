"""What a street consists of: numpy only."""
