"""What a network holds, found by tracing one pass of it."""

import collections
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name

from deltax.delta.adapters.linen import Block, Layer, watched

_CONV, _NORM = 'conv:', 'norm:'


class Norm(NamedTuple):
  """A batch norm: its module path, and what it adds to the variance."""

  path: str
  epsilon: float


class Survey(NamedTuple):
  """What one pass of a network holds.

  Attributes:
    layers: every call of a convolution, in order of execution.
    dense: multiply-accumulates a frame of every fully connected layer, by path.
    norms: the batch norm that alone reads a convolution's output, by the
      convolution's path; each is called once a pass.
    blocks: every call of a submodule that may be a block, in the order in which
      they begin.
    sources: names of the convolution calls whose outputs each one reads, not
      through another; of the network's outputs under ''.
  """

  layers: tuple[Layer, ...]
  dense: dict[str, int]
  norms: dict[str, Norm]
  blocks: tuple[Block, ...]
  sources: dict[str, frozenset[str]]


def survey(net: nn.Module, variables: Any, frame: Any) -> Survey:
  """Traces one pass of a network and lists what it holds.

  Args:
    net: any linen network.
    variables: of the network; only shapes matter.
    frame: `[B, H, W, C]`; only the shape matters.

  Returns:
    The survey, for frames of that size.

  Raises:
    ValueError: if a convolution runs inside `nn.scan`, `nn.remat` or another
      traced transformation, where no hand can reach it, or if there is none.
  """
  layers: list[Layer] = []
  macs: dict[str, int] = {}
  epsilons: dict[str, float] = {}

  def conv(layer, teacher, x):
    layers.append(layer)
    return checkpoint_name(teacher(x), _CONV + layer.name)

  def norm(module, teacher, x):
    path = '/'.join(module.path)
    epsilons[path] = module.epsilon
    return teacher(checkpoint_name(x, _NORM + path))

  def dense(path, x, y):
    rows = math.prod(y.shape[:-1]) // frame.shape[0]
    macs[path] = macs.get(path, 0) + rows * x.shape[-1] * y.shape[-1]

  blocks: list[Block | None] = []
  begun: collections.Counter[str] = collections.Counter()

  def other(module, teacher, inputs):
    place, first, path = len(blocks), len(layers), '/'.join(module.path)
    blocks.append(None)
    out = teacher()
    inside = tuple(layer.name for layer in layers[first:])
    if inputs and inside and getattr(out, 'ndim', 0) == 4:
      blocks[place] = Block(
        path=path,
        call=begun[path],
        kind=type(module).__name__,
        inputs=tuple(tuple(x.shape[1:]) for x in inputs),
        outputs=tuple(out.shape[1:]),
        layers=inside,
      )
      begun[path] += 1
    return out

  def run(variables, frame):
    return watched(
      *(net, variables, frame),
      conv=conv,
      norm=norm,
      dense=dense,
      other=other,
    )

  jaxpr = jax.make_jaxpr(run)(variables, frame).jaxpr
  seen = {_tag(eqn).removeprefix(_CONV) for eqn in _tags(jaxpr, _CONV)}
  hidden = [layer.name for layer in layers if layer.name not in seen]
  if hidden:
    raise ValueError(
      f'convolution {hidden[0]!r} runs inside nn.scan, nn.remat or another '
      'traced transformation, where its frames cannot be followed; build the '
      f'network without it ({len(hidden)} such convolutions)'
    )
  if not layers:
    raise ValueError(
      f'{type(net).__name__} calls no two-dimensional nn.Conv; there is '
      'nothing to distil'
    )
  repeated = {layer.path for layer in layers if layer.call}
  norms = {
    conv: Norm(path, epsilons[path])
    for conv, path in _sole_readers(jaxpr).items()
    if conv.partition(':')[0] not in repeated
  }
  found = tuple(filter(None, blocks))
  return Survey(tuple(layers), macs, norms, found, _sources(jaxpr))


def call_of(survey: Survey, selected: Mapping, name: str) -> tuple:
  """The call of a layer or block by its name, and its candidates.

  Args:
    survey: of the network.
    selected: as `Spec.select` gives it.
    name: of the call.
  """
  unit, candidates = selected[name.partition(':')[0]]
  if unit.name != name:
    calls = (*survey.layers, *survey.blocks)
    unit = next(each for each in calls if each.name == name)
  return unit, candidates


def _sole_readers(jaxpr) -> dict[str, str]:
  """Batch norms that read a convolution's output where nothing else does."""
  readers = collections.defaultdict(list)
  for eqn in jaxpr.eqns:
    for var in eqn.invars:
      if not hasattr(var, 'val'):  # a literal is nobody's output
        readers[var].append(eqn)
  norms = collections.defaultdict(list)
  for eqn in _tags(jaxpr, _CONV):
    (out,) = eqn.outvars
    if out not in jaxpr.outvars and len(readers[out]) == 1:
      norms[_tag(readers[out][0])].append(_tag(eqn).removeprefix(_CONV))
  counts = collections.Counter(_tag(eqn) for eqn in _tags(jaxpr, _NORM))
  return {
    convs[0]: norm.removeprefix(_NORM)
    for norm, convs in norms.items()
    if counts[norm] == 1
  }


def _sources(jaxpr) -> dict[str, frozenset[str]]:
  """Whose outputs each convolution reads, and the network's outputs ('')."""
  reach = collections.defaultdict(frozenset)
  sources = {}

  def read(variables):
    return frozenset().union(
      *(reach[v] for v in variables if not hasattr(v, 'val'))
    )

  for eqn in jaxpr.eqns:
    found, name = read(eqn.invars), _tag(eqn)
    if name.startswith(_CONV):
      name = name.removeprefix(_CONV)
      sources[name], found = found, frozenset([name])
    reach.update(dict.fromkeys(eqn.outvars, found))
  sources[''] = read(jaxpr.outvars)
  return sources


def _tag(eqn) -> str:
  return eqn.params['name'] if eqn.primitive.name == 'name' else ''


def _tags(jaxpr, prefix):
  return [eqn for eqn in jaxpr.eqns if _tag(eqn).startswith(prefix)]
