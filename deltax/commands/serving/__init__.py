"""Searches of an index over HTTP."""
