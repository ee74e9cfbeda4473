"""What may stand in for a layer or a block on later frames."""
