"""How layers are found and replaced while a network runs."""
