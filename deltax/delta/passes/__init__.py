"""Passes of a delta network: one frame, or a whole clip at once."""
