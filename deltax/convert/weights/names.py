"""Which array of a file belongs where in a network, told by names.

A name is taken apart into words: `layer1.0.conv_1.weight` and
`params/layer1_0/Conv1/kernel` have the same.
"""

import collections
import itertools
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from deltax.convert.state_dict import UNREAD, best_prefixes

_KINDS = {
  'weight': ('kernel', 'weight', 'weights', 'scale', 'gamma', 'embedding')
  + ('depthwise_kernel', 'embeddings', 'w'),
  'bias': ('bias', 'biases', 'beta', 'b'),
  'mean': ('mean', 'running_mean', 'moving_mean'),
  'var': ('var', 'running_var', 'moving_variance', 'moving_var', 'variance'),
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names}
_COLLECTIONS = {'params', 'batch_stats'}
_NUMBERED = 'vars'  # where Keras has the arrays of a layer, in this order:
_ORDERS = {
  1: ('weight',),
  2: ('weight', 'bias'),
  4: ('weight', 'bias', 'mean', 'var'),
}
_BESIDE = {'opt_state', 'optimizer', 'optimizer_state', 'optimizer_weights'}
_BESIDE |= {'seed_generator', UNREAD}
_VALUE = 'value'  # below which orbax has the array of an nnx variable


def pairs_by_name(
  paths: Iterable[str],
  keys: Iterable[str],
  layers: Mapping[str, str] = types.MappingProxyType({}),
) -> dict[str, str]:
  """Keys of a file by the paths of a network that they are of.

  A key is that of a path if it is the same text, or if it has the same words
  and no other key or path has. All keys may have a prefix that the paths lack,
  or the paths one that the keys lack.

  Args:
    paths: of the network's arrays, such as `params/conv1/kernel`.
    keys: of the file.
    layers: names of layers by the part of a key before its last '/', where a
      file has such besides.

  Returns:
    Pairs that are sure; a path or key without one is left out.

  Raises:
    ValueError: the network is there twice, under two prefixes.

  Example:
    >>> pairs_by_name(
    ...   ['params/layer1_0/conv/kernel', 'batch_stats/bn/mean'],
    ...   ['net.layer1.0.conv.weight', 'net.bn.running_mean', 'net.fc.bias'],
    ... )
    {'params/layer1_0/conv/kernel': 'net.layer1.0.conv.weight', \
'batch_stats/bn/mean': 'net.bn.running_mean'}
  """
  paths, keys = list(paths), list(keys)
  exact = {path: path for path in set(paths).intersection(keys)}
  best, most, twice = {}, 0, []
  for shared in ([], _shared(paths)):  # a part of a network is brought, or not
    # Digits apart from letters, if that tells more: `layer3` and `layer3_` may
    # be two modules.
    for split, parts in itertools.product(
      (_fields, _tokens), _readings(keys, layers)
    ):
      ours = _unique({p: _words(_parts(p), split) for p in paths})
      start = ''.join(f'{word}.' for word in split(shared))
      ours = {words.removeprefix(start): p for words, p in ours.items()}
      theirs = _unique({key: _words(parts[key], split) for key in parts})
      prefixes, count = best_prefixes(theirs, ours.__contains__)
      if len(prefixes) == 1:
        best = max(best, _paired(ours, theirs, prefixes[0]), key=len)
      elif count > most:
        most, twice = count, sorted(prefixes)
    if best:
      break
  # Some names fit somewhere by chance: not so those of half a network.
  if most > len(best) and 2 * most >= len(paths):
    raise ValueError(
      f'the weights hold the network {len(twice)} times, under '
      f'{" and ".join(twice[:4])}: a mapping must say which is meant'
    )
  best = {p: key for p, key in best.items() if key not in exact}
  known = {**best, **exact}
  return {path: known[path] for path in paths if path in known}


def _paired(
  ours: Mapping[str, str], theirs: Mapping[str, str], prefix: str
) -> dict[str, str]:
  """Keys by paths, from both by their words."""
  return {
    path: theirs[prefix + words]
    for words, path in ours.items()
    if prefix + words in theirs
  }


def is_beside_weights(key: str, array: np.ndarray) -> bool:
  """Whether an array of a file is no weight: a count, or of an optimizer.

  Example:
    >>> is_beside_weights('opt_state/0/mu/conv/kernel', np.ones((3, 3, 3, 8)))
    True
    >>> is_beside_weights('bn1.num_batches_tracked', np.array(100))
    True
  """
  is_count = np.ndim(array) == 0 and np.asarray(array).dtype.kind in 'iu'
  return is_count or not _BESIDE.isdisjoint(_parts(key))


def leaf(name: str) -> str:
  """The last part of a path or key.

  Example:
    >>> leaf('params/conv/kernel'), leaf('conv/conv/kernel:0')
    ('kernel', 'kernel')
  """
  return _parts(name)[-1]


def _parts(name: str) -> list[str]:
  parts = re.split(r'[/.]', re.sub(r':\d+$', '', name))
  if parts[-1] == _VALUE and len(parts) > 1:
    parts.pop()
  return parts


def _readings(
  keys: Iterable[str], layers: Mapping[str, str]
) -> Iterator[dict[str, list[str]]]:
  """The parts of keys in the ways in which they may be meant."""
  parts = {key: _parts(key) for key in keys}
  counts = collections.Counter('/'.join(p[:-1]) for p in parts.values())
  for key, (*modules, last) in parts.items():
    if modules[-1:] == [_NUMBERED]:
      order = _ORDERS.get(counts['/'.join(modules)], ())
      known = last.isdecimal() and int(last) < len(order)
      parts[key] = [*modules[:-1], order[int(last)] if known else '']
  yield parts
  yield {key: _single(own) for key, own in parts.items()}
  places = {key: key.rpartition('/')[0] for key in parts}
  yield {
    key: [layers[place], parts[key][-1]]
    for key, place in places.items()
    if place in layers
  }


def _single(parts: list[str]) -> list[str]:
  """Parts from where the last module is first named: old Keras has it twice."""
  if len(parts) < 3 or parts[-2] not in parts[:-2]:
    return parts
  return [*parts[: parts.index(parts[-2])], *parts[-2:]]


def _fields(modules: Sequence[str]) -> list[str]:
  """Words of modules, each less than a module where it has underscores."""
  return '_'.join(modules).lower().split('_') if modules else []


def _tokens(modules: Sequence[str]) -> list[str]:
  """The same, letters and digits apart."""
  return re.findall(r'[^\W\d_]+|\d+', '_'.join(modules).lower())


def _words(
  parts: Sequence[str], split: Callable[[Sequence[str]], list[str]]
) -> str:
  """The words of a name, joined with dots; '' where they are not known."""
  *modules, last = parts
  kind = _KIND.get(last.lower(), last)
  modules = [module for module in modules if module not in _COLLECTIONS]
  return '.'.join([*split(modules), kind]) if kind else ''


def _unique(words: Mapping[str, str]) -> dict[str, str]:
  """Names by their words, without those whose words another has too."""
  counts = collections.Counter(words.values())
  return {w: name for name, w in words.items() if w and counts[w] == 1}


def _shared(paths: Sequence[str]) -> list[str]:
  """The modules that all paths lie in, but none that holds an array.

  As in a network that has another, which was trained alone, as its only part.
  """
  modules = [
    [part for part in _parts(path)[:-1] if part not in _COLLECTIONS]
    for path in paths
  ]
  shared, most = modules[0], min(map(len, modules)) - 1
  for other in modules:
    same = [a == b for a, b in zip(shared, other, strict=False)]
    shared = shared[: [*same, False].index(False)]
  return shared if len(shared) <= most else []
