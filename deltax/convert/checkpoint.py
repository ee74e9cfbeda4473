"""Released checkpoint files, in the form that training and evaluation take."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deltax import models
from deltax.convert import torch_file
from deltax.convert.delta import delta_from_state_dict
from deltax.convert.state_dict import (
  FRAME,
  UNREAD,
  fits_network,
  from_state_dict,
  module_path,
  network,
  shapes_of,
  shown_keys,
  without_prefix,
)
from deltax.convert.torch_names import inert_objects
from deltax.delta import make_spec
from deltax.delta.survey import survey

FRAME_BASED = 'frame-based'
DELTA_TRAINING = 'delta, as trained'
DELTA_DEPLOYED = 'delta, deployed'

# Where training scripts put the state dict, and what they put before its keys.
_PLACES = ('state_dict', 'model', 'model_state_dict', 'model_state')
_COMPILED = '_orig_mod.'
_PREFIX = re.compile(r'^(?:(?:module|model|detector)\.)+')
# What their wrappers hold beside the network, none of it learned.
_WRAPPING = re.compile(r'^(?:loss|loss_fn|anchors|anchor_labeler)\.')
_STUDENT = re.compile(r'\.g_(?:W[ab]|gate)\.')
_DEPLOYED = re.compile(r'\.g_W\.')
_TEACHER = re.compile(r'(?:\.W)?\.weight$')

# Options of `make_spec` in the published settings, by family.
_DETECTION = {
  'layers': 'detector',
  'candidates': (('full',), ('low_rank', 16, 'min')),
}
_SPECS = {'efficientdet': _DETECTION, 'faster_rcnn': _DETECTION}


class Converted(NamedTuple):
  """A checkpoint file as a run's parameters.

  Attributes:
    form: `FRAME_BASED`, `DELTA_TRAINING` or `DELTA_DEPLOYED`.
    params: `{'teacher': ...}`, and 'students' and 'gates' of a delta network.
    model_state: `{'batch_stats': ...}`.
    num_classes: K.
    layers: paths of the convolutions in the order of the published modules.
    ignored: keys of the file that are no part of the network, and objects
      beside it that were not made, each with its name.
  """

  form: str
  params: dict[str, Any]
  model_state: dict[str, Any]
  num_classes: int
  layers: tuple[str, ...]
  ignored: tuple[str, ...]


def published_spec(name: str) -> dict[str, Any]:
  """Options of `deltax.delta.make_spec` that a network was published with.

  Args:
    name: of the network, as `deltax.models.create` takes it.

  Example:
    >>> published_spec('ddrnet23_slim')
    {}
    >>> published_spec('efficientdet_d0')['layers']
    'detector'
  """
  return dict(_SPECS.get(models.family(name), {}))


def read_checkpoint(
  path: str | os.PathLike,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """The state dict of a PyTorch file, under the network's own keys.

  Prefixes of wrappers (`module.`, `model.`, `detector.`, and `_orig_mod.` of
  compiled modules) are taken off the keys, and counts of batches and what
  losses and anchors hold are left out.

  Args:
    path: of the file, see `torch_file.read`.

  Returns:
    Arrays by key, in the order of the file; and the keys left out, with the
    names of objects that were not made.

  Raises:
    TorchFileError: the file is damaged, or holds more than weights.
    ValueError: it holds no state dict, or two arrays of one name.
  """
  held = torch_file.read(path)
  found, state = state_dict_of(held, path), {}
  ignored = [f'{place} ({name})' for place, name in inert_objects(held)]
  for key, array in found.items():
    name = _PREFIX.sub('', key.replace(_COMPILED, ''))
    if _WRAPPING.match(name) or name.endswith(UNREAD):
      ignored.append(key)
    elif name in state:
      raise ValueError(f'{path} holds {name} twice, under different prefixes')
    else:
      state[name] = array
  return state, tuple(ignored)


def form_of(state_dict: Mapping[str, Any]) -> str:
  """Which of the three forms a state dict has, told by its keys.

  Example:
    >>> form_of({'conv1.W.weight': 0, 'conv1.g_W.weight': 0})
    'delta, deployed'
  """
  if any(_STUDENT.search(key) for key in state_dict):
    return DELTA_TRAINING
  if any(_DEPLOYED.search(key) for key in state_dict):
    return DELTA_DEPLOYED
  return FRAME_BASED


def convert(name: str, path: str | os.PathLike) -> Converted:
  """A released checkpoint as the parameters of a run.

  Args:
    name: of the network, as `deltax.models.create` takes it.
    path: of the file, of any form.

  Returns:
    What the file holds. A delta network is of the published setting.

  Raises:
    ValueError: the file cannot be read, or what is missing, left over, of the
      wrong shape or not finite.
  """
  state, ignored = read_checkpoint(path)
  state, others = without_prefix(state, fits_network(name), name)
  form = form_of(state)
  if form == FRAME_BASED:
    variables, params = from_state_dict(name, state), {}
  else:
    spec = make_spec(**published_spec(name))
    params = delta_from_state_dict(name, spec, state)
    variables = params['teacher']
  plain = {_TEACHER.sub('.weight', key): array for key, array in state.items()}
  return Converted(
    form=form,
    params={**params, 'teacher': variables['params']},
    model_state={'batch_stats': variables.get('batch_stats', {})},
    num_classes=network(name, plain).num_classes,
    layers=conv_paths(state),
    ignored=(*ignored, *others),
  )


def conv_paths(state_dict: Mapping[str, np.ndarray]) -> tuple[str, ...]:
  """Paths of a state dict's convolutions, in its own order.

  Example:
    >>> conv_paths({'a.0.W.weight': np.zeros((1, 1, 1, 1)), 'a.1.weight': 0})
    ('a_0',)
  """
  return tuple(
    '/'.join(module_path(_TEACHER.sub('', key)))
    for key, array in state_dict.items()
    if _TEACHER.search(key) and '.g_' not in key and np.ndim(array) == 4
  )


def converted_layers(name: str, found: Converted) -> tuple[str, ...]:
  """Paths of the layers with students, in the order of the published modules.

  Args:
    name: of the network.
    found: its checkpoint. A frame-based one has no students yet: then it is the
      layers that the published setting gives some.
  """
  students = found.params.get('students')
  if students is None:
    net = models.create(name, num_classes=found.num_classes)
    surveyed = survey(net, shapes_of(net), FRAME)
    students = make_spec(**published_spec(name)).select(surveyed)
  return tuple(path for path in found.layers if path in students)


def read_costs(
  path: str | os.PathLike, paths: Sequence[str]
) -> dict[str, float]:
  """The costs of layers from a released `*_macs.p` file.

  Args:
    path: of the file: one number a converted layer, in the order of the
      published modules, as a tensor, an array or a list.
    paths: of the converted layers, in that order.

  Returns:
    Costs by path.

  Raises:
    ValueError: the file cannot be read, or holds another number of costs.
  """
  found = torch_file.read(path)
  try:
    costs = np.asarray(found, np.float64).ravel()
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'{path} holds no list of costs, but a {type(found).__name__}'
    ) from error
  if len(costs) != len(paths):
    raise ValueError(
      f'{path} holds {len(costs)} costs, expected {len(paths)}, one for each '
      'converted layer'
    )
  if not np.isfinite(costs).all():
    raise ValueError(f'{path} holds costs that are not finite')
  return dict(zip(paths, costs.tolist(), strict=True))


def state_dict_of(found: Any, path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The state dict among what a PyTorch file holds.

  Args:
    found: what `torch_file.read` gives.
    path: of the file, for messages.

  Raises:
    ValueError: there is none.
  """
  for _ in _PLACES:  # a state dict may lie in a dict, and that in another
    place = next((key for key in _PLACES if _is_dict(found, key)), None)
    if place is None:
      break
    found = found[place]
  keys = list(found) if isinstance(found, dict) else []
  arrays = {
    key: found[key]
    for key in keys
    if isinstance(key, str) and isinstance(found[key], np.ndarray)
  }
  if not arrays:
    raise ValueError(
      f'{path} holds no state dict: expected arrays by key, or such a dict '
      f'under {", ".join(_PLACES)}; found keys: {shown_keys(keys)}'
    )
  return arrays


def _is_dict(found: Any, key: str) -> bool:
  return isinstance(found, dict) and isinstance(found.get(key), dict)
