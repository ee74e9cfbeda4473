"""Retrieval of videos: similarity networks and their selector."""
