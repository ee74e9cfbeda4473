"""Scores as sums that merge: count per batch, add up, divide at the end.

Average precision is no function of sums: `detection` takes all images at once.
"""

from deltax.metrics import detection, segmentation, temporal

__all__ = ['detection', 'segmentation', 'temporal']
