"""Submodules, and what lies between two layers, as units."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deltax.delta.units.unit import NoStart, by, in_type, numbered
from deltax.types import Array

SPAN = 'span'  # kind of a block between two layers


class Block(NamedTuple):
  """One call of a submodule that turns feature maps into one feature map.

  Feature maps are images, `[B, H, W, C]`, or tokens, `[B, T, C]`.

  Attributes:
    path: module path, joined by '/'; of a span 'first-last'.
    call: 0 for the first call of the module in a pass, 1 for the next, ...
    kind: name of its class, or `SPAN`: what lies between two layers.
    inputs: (H, W, C) or (T, C) of every input.
    outputs: (H, W, C) or (T, C) of the output.
    layers: names of the layer calls inside.
  """

  path: str
  call: int
  kind: str
  inputs: tuple[tuple[int, ...], ...]
  outputs: tuple[int, ...]
  layers: tuple[str, ...]

  linear = False
  bias = False
  windows = 1

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""
    return numbered(self.path, self.call)

  @property
  def shapes(self) -> tuple[tuple[int, ...], ...]:
    """Those of every input."""
    return self.inputs

  @property
  def calls(self) -> tuple[str, ...]:
    """Names of the layer calls inside."""
    return self.layers

  @property
  def ends(self) -> tuple[str, str] | None:
    """Of a span, the names of its first and its last layer."""
    return (self.layers[0], self.layers[-1]) if self.kind == SPAN else None

  @property
  def form(self) -> 'Block':
    """Without its name and those of its layers."""
    return self._replace(path='', call=0, layers=())

  @property
  def description(self) -> str:
    inputs = ', '.join(map(by, self.inputs))
    return f'{self.kind}: {inputs} -> {by(self.outputs)}'

  def weights(self, teacher) -> dict[str, Array]:
    return dict(teacher)

  def student_macs(self, candidate) -> int:
    return candidate.macs(self)

  def refuses(self, candidate) -> str:
    return _refusal(candidate, self.form)

  def start(self, key, teacher, candidates) -> dict[str, Any]:
    del teacher
    keys = jax.random.split(key, len(candidates))
    return {
      c.name: c.init(own_key, self)
      for own_key, c in zip(keys, candidates, strict=True)
    }

  # Students compute in the type of what comes in. A span is met at its last
  # layer, whose own input is handed over too.
  def change(self, candidate, params, changes, references) -> Array:
    count = len(self.inputs)
    params, changes, references = in_type(
      jnp.result_type(*changes[:count]),
      params,
      tuple(changes[:count]),
      tuple(references[:count]),
    )
    return candidate.apply(params, changes, references, self)

  def prepare(self, candidate, params, references) -> dict[str, Array]:
    references = tuple(references[: len(self.inputs)])
    (params,) = in_type(jnp.result_type(*references), params)
    return candidate.prepare(params, references, self)

  def follow(self, candidate, params, prepared, inputs) -> Array:
    inputs = tuple(inputs[: len(self.inputs)])
    (params,) = in_type(jnp.result_type(*inputs), params)
    return candidate.follow(params, prepared, inputs, self)


@functools.cache
def _refusal(candidate: Any, block: Block) -> str:
  """Why a candidate has no start for a block, known from shapes alone."""
  try:
    jax.eval_shape(lambda: candidate.init(jax.random.key(0), block))
  except NoStart as error:
    return str(error)
  return ''
