"""Weights that somebody brings, from any file, fitted to any network."""

from deltax.convert.weights.fit import match
from deltax.convert.weights.mapping import read_mapping
from deltax.convert.weights.read import read_arrays

__all__ = ['match', 'read_arrays', 'read_mapping']
