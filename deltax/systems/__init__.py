"""Retrieval systems: networks, extractor and whitening that work together."""
