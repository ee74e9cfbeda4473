"""What a network holds, found by tracing one pass of it."""

import collections
import math
from typing import Any, NamedTuple

import jax
from jax.ad_checkpoint import checkpoint_name

from deltax.delta.adapters import Hooks, Network, as_network
from deltax.delta.units import SPAN, Block, Layer, Unit, path_of

_LAYER, _NORM = 'conv:', 'norm:'


class Norm(NamedTuple):
  """A batch norm: its module path, and what it adds to the variance."""

  path: str
  epsilon: float


class Survey(NamedTuple):
  """What one pass of a network holds.

  Attributes:
    layers: every call of a layer, in order of execution.
    dense: multiply-accumulates a frame of every fully connected layer that is
      no unit, by path.
    norms: the batch norm that alone reads a layer's output, by the layer's
      path; each is called once a pass.
    blocks: every call of a submodule that may be a block, in the order in which
      they begin.
    sources: names of the layer calls whose outputs each one reads, not through
      another; of the network's outputs under ''.
  """

  layers: tuple[Layer, ...]
  dense: dict[str, int]
  norms: dict[str, Norm]
  blocks: tuple[Block, ...]
  sources: dict[str, frozenset[str]]

  def parts(self, unit: Unit) -> list[Layer]:
    """The layers of a unit: itself, or those inside of it."""
    return [layer for layer in self.layers if layer.name in unit.calls]

  def macs(self, unit: Unit, *, bias: bool) -> int:
    """Multiply-accumulates of the teacher's own unit on one frame."""
    return sum(layer.macs(bias=bias) for layer in self.parts(unit))


def survey(net: Any, variables: Any, frame: Any) -> Survey:
  """Traces one pass of a network and lists what it holds.

  Args:
    net: the network; see `deltax.delta.distill`.
    variables: of the network; only shapes matter.
    frame: `[B, H, W, C]`; only the shape matters.

  Returns:
    The survey, for frames of that size.

  Raises:
    ValueError: if a layer runs inside `nn.scan`, `nn.remat` or another traced
      transformation, where it cannot be met, or if there is none.
  """
  network = as_network(net)
  pass_ = _Pass(frame.shape[0])
  jaxpr = jax.make_jaxpr(
    lambda variables, frame: network.run(variables, frame, pass_.hooks())
  )(variables, frame).jaxpr
  _check_reach(network, pass_.layers, jaxpr)
  repeated = {layer.path for layer in pass_.layers if layer.call}
  norms = {
    layer: Norm(path, pass_.epsilons[path])
    for layer, path in _sole_readers(jaxpr).items()
    if path_of(layer) not in repeated
  }
  blocks = tuple(block for block in pass_.blocks if block is not None)
  return Survey(
    tuple(pass_.layers), pass_.dense, norms, blocks, _sources(jaxpr)
  )


class _Pass:
  """What the hooks of one traced pass note down.

  Outputs of layers and inputs of norms are tagged in the program, so that it
  tells afterwards who reads whom.
  """

  def __init__(self, batch: int):
    self.batch = batch
    self.layers: list[Layer] = []
    self.dense: dict[str, int] = {}
    self.epsilons: dict[str, float] = {}
    self.blocks: list[Block | None] = []
    self.begun: collections.Counter[str] = collections.Counter()

  def hooks(self) -> Hooks:
    return Hooks(
      layer=self.note_layer,
      norm=self.note_norm,
      dense=self.note_dense,
      submodule=self.note_submodule,
    )

  def note_layer(self, layer, teacher, x):
    self.layers.append(layer)
    return checkpoint_name(teacher(x), _LAYER + layer.name)

  def note_norm(self, path, epsilon, teacher, x):
    self.epsilons[path] = epsilon
    return teacher(checkpoint_name(x, _NORM + path))

  def note_dense(self, path, x, y):
    rows = math.prod(y.shape[:-1]) // self.batch
    macs = rows * x.shape[-1] * y.shape[-1]
    self.dense[path] = self.dense.get(path, 0) + macs

  def note_submodule(self, path, kind, teacher, inputs):
    # A block's place is where it begins; what it is, is known when it ends.
    place, first = len(self.blocks), len(self.layers)
    self.blocks.append(None)
    out = teacher()
    inside = tuple(layer.name for layer in self.layers[first:])
    if inputs and inside and getattr(out, 'ndim', 0) == 4:
      self.blocks[place] = Block(
        path=path,
        call=self.begun[path],
        kind=kind,
        inputs=tuple(tuple(x.shape[1:]) for x in inputs),
        outputs=tuple(out.shape[1:]),
        layers=inside,
      )
      self.begun[path] += 1
    return out


def _check_reach(network: Network, layers: list[Layer], jaxpr) -> None:
  """Raises a ValueError unless there are layers and all can be followed."""
  seen = {_tag(eqn).removeprefix(_LAYER) for eqn in _tags(jaxpr, _LAYER)}
  hidden = [layer.name for layer in layers if layer.name not in seen]
  if hidden:
    raise ValueError(
      f'convolution {hidden[0]!r} runs inside nn.scan, nn.remat or another '
      'traced transformation, where its frames cannot be followed; build the '
      f'network without it ({len(hidden)} such convolutions)'
    )
  if not layers:
    raise ValueError(
      f'{network.name} calls no two-dimensional nn.Conv; there is nothing to '
      'distil'
    )


def span(survey: Survey, first: str, last: str) -> Block:
  """What lies between two layers, as a block.

  Args:
    survey: of the network.
    first: name of the first layer.
    last: name of the last one.

  Raises:
    ValueError: there are no such convolutions in this order, one of those
      between is called more than once or read from outside, or reads what does
      not come from the first.
  """
  names = [layer.name for layer in survey.layers]
  try:
    start = names.index(first)
    end = names.index(last, start + 1)
  except ValueError as error:
    raise ValueError(
      f'no span from {first!r} to {last!r}; the network has, in this order, '
      f'{", ".join(names)}'
    ) from error
  inside = survey.layers[start : end + 1]
  repeated = {layer.path for layer in survey.layers if layer.call}
  for layer in inside:
    if layer.path in repeated:
      raise ValueError(
        f'{layer.path!r} in the span from {first!r} to {last!r} is called more '
        'than once'
      )
  members = names[start : end + 1]
  known = {*members, *survey.sources[first]}
  for reader, sources in survey.sources.items():
    if reader not in members:
      # Of a span only its last output is to be seen from outside,
      wrong = sources & set(members[:-1])
    elif reader != first:
      # and inside nothing is to be seen but what came in by its first layer.
      wrong = sources - known
    else:
      wrong = set()
    for source in wrong:
      raise ValueError(
        f'{first!r} to {last!r} is no span: {reader or "the output"!r} reads '
        f'{source!r}'
      )
  return Block(
    path=f'{first}-{last}',
    call=0,
    kind=SPAN,
    inputs=(inside[0].inputs,),
    outputs=inside[-1].outputs,
    layers=tuple(members),
  )


def _sole_readers(jaxpr) -> dict[str, str]:
  """Batch norms that read a convolution's output where nothing else does."""
  readers = collections.defaultdict(list)
  for eqn in jaxpr.eqns:
    for var in eqn.invars:
      if not hasattr(var, 'val'):  # a literal is nobody's output
        readers[var].append(eqn)
  norms = collections.defaultdict(list)
  for eqn in _tags(jaxpr, _LAYER):
    (out,) = eqn.outvars
    if out not in jaxpr.outvars and len(readers[out]) == 1:
      norms[_tag(readers[out][0])].append(_tag(eqn).removeprefix(_LAYER))
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
    origins, name = read(eqn.invars), _tag(eqn)
    if name.startswith(_LAYER):
      name = name.removeprefix(_LAYER)
      # Who reads the layer reads it, and not what the layer reads.
      sources[name], origins = origins, frozenset([name])
    reach.update(dict.fromkeys(eqn.outvars, origins))
  sources[''] = read(jaxpr.outvars)
  return sources


def _tag(eqn) -> str:
  return eqn.params['name'] if eqn.primitive.name == 'name' else ''


def _tags(jaxpr, prefix):
  return [eqn for eqn in jaxpr.eqns if _tag(eqn).startswith(prefix)]
