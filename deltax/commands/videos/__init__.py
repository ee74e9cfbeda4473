"""Commands around your videos."""
