"""A data set of video copies that needs no download."""
