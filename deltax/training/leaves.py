"""Leaves of a tree of arrays: their names, and what they are on the host."""

import urllib.parse
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax import plain
from deltax.types import Array


def named(tree: Any) -> dict[str, Any]:
  """The leaves by name, '/' between the keys that lead to them.

  A key is percent-encoded, so that it may hold any character; an index of a
  sequence is written [i], which no encoded key can be.
  """
  return {
    '/'.join(map(_encode, path)): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def unflatten(leaves: Mapping[tuple[str, ...], Any]) -> Any:
  """A tree of dicts and tuples from its leaves, by the parts of their names."""
  if set(leaves) == {()}:
    return leaves[()]
  children = {}
  for (head, *rest), leaf in leaves.items():
    children.setdefault(head, {})[tuple(rest)] = leaf
  children = {head: unflatten(rest) for head, rest in children.items()}
  if all(head.startswith('[') for head in children):
    return tuple(children[f'[{i}]'] for i in range(len(children)))
  return {urllib.parse.unquote(k): child for k, child in children.items()}


def to_host(leaf: Array) -> np.ndarray:
  """A copy on the host; of a random key its data."""
  # A copy: on a CPU the host may share memory that the next step is given.
  return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def from_host(stored: np.ndarray | Array, like: Array) -> jax.Array:
  """The leaf that `to_host` gave; `like` has its type, whatever its values."""
  if _is_key(like):
    return jax.random.wrap_key_data(stored, impl=jax.random.key_impl(like))
  return stored if isinstance(stored, jax.Array) else jnp.array(stored)


def signature(leaf: Array) -> list:
  """Shape and dtype on the host, as plain values."""
  if _is_key(leaf):
    leaf = jax.eval_shape(jax.random.key_data, leaf)
  return [list(leaf.shape), str(leaf.dtype)]


def checksum(x: np.ndarray) -> int:
  """CRC-32 of the values of an array on the host."""
  return zlib.crc32(np.ascontiguousarray(x).view(np.uint8).data)


def _is_key(x: Any) -> bool:
  return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _encode(key: Any) -> str:
  if isinstance(key, jax.tree_util.SequenceKey):
    return f'[{key.idx}]'
  name = getattr(key, 'name', None) or str(key.key)
  return urllib.parse.quote(name, safe='')


def _is_dtype(name: Any) -> bool:
  try:
    return isinstance(name, str) and not jnp.dtype(name).hasobject
  except (TypeError, ValueError):
    return False


# What the metadata of a checkpoint must hold.
_METADATA = {
  'leaves': {
    str: ([plain.COUNT], plain.Form('a dtype', _is_dtype), plain.COUNT)
  },
  'scores': {
    str: plain.Form(
      'a number or null', lambda x: x is None or type(x) in (int, float)
    )
  },
  'best': plain.TEXT_OR_NONE,
}


def wrong_metadata(metadata: Any, path: Any) -> str | None:
  """What is wrong with the metadata of a checkpoint; None if nothing is."""
  if not isinstance(metadata, dict) or 'leaves' not in metadata:
    return f'foreign checkpoint {path}: its metadata lists no leaves'
  try:
    plain.check(metadata, _METADATA, f'corrupt checkpoint {path}: its metadata')
  except ValueError as error:
    return str(error)
  return None
