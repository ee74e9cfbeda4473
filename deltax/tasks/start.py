"""What the training of a network starts from: drawn, packaged or a run's."""

from collections.abc import Mapping
from typing import Any

import jax
from absl import logging

from deltax.convert import packaged
from deltax.types import Array, Key

NAMED = 3  # arrays that a refusal names


def check_one_start(pretrained: str, teacher: Any) -> None:
  """Raises a ValueError where two starts are asked for at once."""
  if pretrained and teacher is not None:
    raise ValueError(
      f'pretrained={pretrained!r} is beside a teacher, whose run has weights '
      'for every layer; give one of them'
    )


def start(
  net: Any,
  key: Key,
  frame: Array,
  *,
  pretrained: str = '',
  teacher: Any = None,
  new_head: bool = True,
) -> dict[str, Any]:
  """The variables that the training of a network starts from.

  Args:
    net: the network, a module with an attribute `num_classes`.
    key: for whatever is drawn.
    frame: float32 `[B, H, W, 3]`; only the shape matters.
    pretrained: name of packaged weights for the backbone; '' for none.
    teacher: variables of a run of the same network, all of which are taken
      over; None draws the variables.
    new_head: whether the arrays whose shape depends on the number of classes
      are drawn anew where the run knew another number; they are logged.

  Returns:
    `{'params': ..., 'batch_stats': ...}`.

  Raises:
    ValueError: the run is of another network, or of another number of classes
      and there is to be no new head; the packaged weights do not fit.
    ModuleNotFoundError: the package of the weights is not installed.
  """
  check_one_start(pretrained, teacher)
  if teacher is None:
    variables = jax.jit(net.init)(key, frame)
    return packaged.start(variables, pretrained) if pretrained else variables
  new = _arrays_to_draw(net, frame, teacher)
  if not new:
    return teacher
  if not new_head:
    raise ValueError(
      "the teacher's run is of another number of classes than "
      f'{net.num_classes}; of other shapes are {", ".join(new)}'
    )
  logging.warning(
    "the teacher's run is of another number of classes than %d: new arrays are "
    '%s, all others are those of the run',
    net.num_classes,
    ', '.join(new),
  )
  drawn = jax.jit(net.init)(key, frame)
  return jax.tree_util.tree_map_with_path(
    lambda path, ours, own: ours if _name(path) in new else own, drawn, teacher
  )


def _arrays_to_draw(net: Any, frame: Array, teacher: Any) -> list[str]:
  """Names of the arrays of another number of classes, all others being there.

  Raises:
    ValueError: others are missing, left over or of another shape.
  """
  ours, theirs = _shapes_of(net, frame), _shapes(teacher)
  differing = [
    name for name, shape in theirs.items() if ours.get(name) != shape
  ]
  missing = [name for name in ours if name not in theirs]
  if not differing and not missing:
    return []
  # An array belongs to the head if one class more changes its shape.
  more = _shapes_of(net.clone(num_classes=net.num_classes + 1), frame)
  foreign = missing + [
    name for name in differing if name not in ours or more[name] == ours[name]
  ]
  if foreign:
    named = ', '.join(
      f'{name} ({_written(ours, name)} here, {_written(theirs, name)} there)'
      for name in foreign[:NAMED]
    )
    raise ValueError(
      f"the teacher's run is of another network: {len(foreign)} arrays do not "
      f'fit the {len(ours)} of this one, such as {named}'
    )
  return differing


def _shapes_of(net, frame) -> dict[str, tuple[int, ...]]:
  return _shapes(jax.eval_shape(net.init, jax.random.key(0), frame))


def _shapes(variables) -> dict[str, tuple[int, ...]]:
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  return {_name(path): leaf.shape for path, leaf in leaves}


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _written(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
  return str(list(shapes[name])) if name in shapes else 'none'
