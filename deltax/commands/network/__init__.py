"""Commands around your network."""
