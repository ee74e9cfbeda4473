"""Data sets read from folders as they are published."""
