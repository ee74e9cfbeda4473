"""Video copies with annotations, made from clips and rendered streets."""
