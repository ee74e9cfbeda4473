"""Agreement with a network on videos that nobody labelled."""
