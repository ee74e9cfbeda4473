"""Commands that train retrieval."""
