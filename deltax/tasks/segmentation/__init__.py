"""Semantic segmentation of video."""
