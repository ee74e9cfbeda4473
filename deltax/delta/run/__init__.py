"""Delta networks on streams of frames."""
