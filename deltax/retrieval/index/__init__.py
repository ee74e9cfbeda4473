"""A folder of encoded videos."""
