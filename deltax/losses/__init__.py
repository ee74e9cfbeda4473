"""Losses of the tasks, pure and per example."""
