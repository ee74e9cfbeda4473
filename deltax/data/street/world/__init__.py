"""What a street consists of: numpy arrays, to be drawn by a renderer."""
