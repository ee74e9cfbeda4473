"""Pages about retrieval."""
