"""Video files: finding, reading and writing them, and motion in them."""
