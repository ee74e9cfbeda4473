"""Pictures and plots of a page."""
