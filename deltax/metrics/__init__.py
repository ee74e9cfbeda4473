"""Scores as sums that merge: count per batch, add up, divide at the end."""

from deltax.metrics import segmentation, temporal

__all__ = ['segmentation', 'temporal']
