"""A rendered street: every pixel labelled, every motion known."""
