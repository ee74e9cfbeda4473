"""Data sets that are read from the folders in which they are published."""
