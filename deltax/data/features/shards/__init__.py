"""The files that a feature store keeps its features in."""
