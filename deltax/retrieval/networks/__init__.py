"""The networks of distill-and-select, and what they learn from."""
