"""Object detection in video."""
