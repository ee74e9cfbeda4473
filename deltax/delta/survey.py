"""What a network holds, found by tracing one pass of it."""

import collections
import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import jaxprs_in_params

from deltax.delta.adapters import Hooks, Network, as_network
from deltax.delta.products import products
from deltax.delta.units import SPAN, Block, Dense, Unit, path_of

_LAYER, _NORM = 'layer:', 'norm:'
_SCOPE = 'deltax_scope_'
# What has another first axis than the frames is none of theirs. Networks are
# rarely made of arrays of this length.
_BATCH = 3


class Norm(NamedTuple):
  """A batch norm.

  Attributes:
    path: module path.
    epsilon: what it adds to the variance.
    dtype: of its output.
  """

  path: str
  epsilon: float
  dtype: Any


class Products(NamedTuple):
  """What a network multiplies outside of its layers, such as in attention.

  Attributes:
    path: of the innermost submodule; the network's name outside of all.
    blocks: names of the block calls around it.
    after: how many layers have run before.
    macs: multiply-accumulates of one frame.
  """

  path: str
  blocks: tuple[str, ...]
  after: int
  macs: int


class Survey(NamedTuple):
  """What one pass of a network holds.

  Attributes:
    layers: every call of a layer, in order of execution.
    products: what is multiplied outside of layers, in order of execution.
    norms: the batch norm that alone reads a layer's output, by the layer's
      path; each is called once a pass.
    blocks: every call of a submodule that may be a block, in the order in which
      they begin.
    sources: names of the layer calls whose outputs each one reads, not through
      another; of the network's outputs under ''.
  """

  layers: tuple[Unit, ...]
  products: tuple[Products, ...]
  norms: dict[str, Norm]
  blocks: tuple[Block, ...]
  sources: dict[str, frozenset[str]]

  def parts(self, unit: Unit) -> list[Unit]:
    """The layers of a unit: itself, or those inside of it."""
    return [layer for layer in self.layers if layer.name in unit.calls]

  def macs(self, unit: Unit, *, bias: bool) -> int:
    """Multiply-accumulates of the teacher's own unit on one frame."""
    layers = sum(layer.macs(bias=bias) for layer in self.parts(unit))
    return layers + sum(
      product.macs for product in self.products if self.holds(unit, product)
    )

  def holds(self, unit: Unit, product: Products) -> bool:
    """Whether a product is part of a unit."""
    if unit.ends is None:
      return unit.name in product.blocks
    names = [layer.name for layer in self.layers]
    first, last = map(names.index, unit.ends)
    return first < product.after <= last


def survey(net: Any, variables: Any, frame: Any) -> Survey:
  """Traces one pass of a network and lists what it holds.

  Args:
    net: the network; see `deltax.delta.distill`.
    variables: of the network; only shapes matter.
    frame: `[B, H, W, C]`; only the shape of one frame matters.

  Returns:
    The survey, for frames of that size.

  Raises:
    ValueError: if a layer runs inside `nn.scan`, `nn.remat` or another traced
      transformation, where it cannot be met, or if there is none.
  """
  network = as_network(net)
  pass_ = _Pass()
  frames = jax.ShapeDtypeStruct((_BATCH, *frame.shape[1:]), jnp.float32)
  jaxpr = jax.make_jaxpr(
    lambda variables, frames: network.run(variables, frames, pass_.hooks())
  )(variables, frames).jaxpr
  _check_reach(network, pass_.layers, jaxpr)
  unfit = {layer.path for layer in pass_.layers if not _takes_norm(layer)}
  norms = {
    layer: pass_.norms[path]
    for layer, path in _sole_readers(jaxpr).items()
    if path_of(layer) not in unfit
  }
  blocks = tuple(block for block in pass_.blocks if block is not None)
  return Survey(
    tuple(pass_.layers),
    tuple(pass_.products(network.name, jaxpr)),
    norms,
    blocks,
    _sources(jaxpr),
  )


class _Scope(NamedTuple):
  """What a part of the program is traced in.

  Attributes:
    path: of the layer or the submodule.
    is_layer: whether it is a layer.
    place: in the list of layers, or of blocks.
  """

  path: str
  is_layer: bool
  place: int


class _Pass:
  """What the hooks of one traced pass note down.

  Outputs of layers and inputs of norms are tagged in the program, so that it
  tells afterwards who reads whom; what it is traced in has named scopes, so
  that it tells where a product stands.
  """

  def __init__(self):
    self.layers: list[Unit] = []
    self.norms: dict[str, Norm] = {}
    self.blocks: list[Block | None] = []
    self.begun: collections.Counter[str] = collections.Counter()
    self.scopes: list[_Scope] = []

  def hooks(self) -> Hooks:
    return Hooks(
      layer=self.note_layer,
      norm=self.note_norm,
      submodule=self.note_submodule,
    )

  @contextlib.contextmanager
  def scope(self, *scope: Any) -> Iterator[None]:
    """What is traced meanwhile has a scope."""
    self.scopes.append(_Scope(*scope))
    with jax.named_scope(f'{_SCOPE}{len(self.scopes) - 1}'):
      yield

  def note_layer(self, layer, teacher, x):
    self.layers.append(layer)
    with self.scope(layer.path, True, len(self.layers) - 1):
      z = teacher(x)
    return checkpoint_name(z, _LAYER + layer.name)

  def note_norm(self, path, epsilon, teacher, x):
    y = teacher(checkpoint_name(x, _NORM + path))
    self.norms[path] = Norm(path, epsilon, y.dtype)
    return y

  def note_submodule(self, path, kind, teacher, inputs):
    # A block's place is where it begins; what it is, is known when it ends.
    place, first = len(self.blocks), len(self.layers)
    self.blocks.append(None)
    with self.scope(path, False, place):
      out = teacher()
    inside = tuple(layer.name for layer in self.layers[first:])
    maps = [*inputs, out]
    if inputs and inside and all(map(_is_of_frames, maps)):
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

  def products(self, name: str, jaxpr: Any) -> Iterator[Products]:
    """Those outside of layers."""
    after = 0
    for product in products(jaxpr):
      numbers = re.findall(_SCOPE + r'(\d+)', product.scope)
      scopes = [self.scopes[int(number)] for number in numbers]
      if scopes and scopes[-1].is_layer:
        after = scopes[-1].place + 1
        continue
      blocks = [self.blocks[scope.place] for scope in scopes]
      yield Products(
        path=scopes[-1].path if scopes else name,
        blocks=tuple(block.name for block in blocks if block),
        after=after,
        macs=product.macs // _BATCH,
      )


def _takes_norm(layer: Unit) -> bool:
  """Whether a norm may be folded into a layer.

  It is called once, and a norm of its last axis scales all that it gives: not
  that of a projection to heads, which has the width of a head.
  """
  heads = isinstance(layer, Dense) and layer.kernel[-1] != layer.outputs[-1]
  return not layer.call and not heads


def _is_of_frames(x: Any) -> bool:
  """Whether an array is a feature map of the frames."""
  return getattr(x, 'ndim', 0) in (3, 4) and x.shape[0] == _BATCH


def _check_reach(network: Network, layers: list[Unit], jaxpr) -> None:
  """Raises a ValueError unless there are layers and all can be followed."""
  seen = {_tag(eqn).removeprefix(_LAYER) for eqn in _tags(jaxpr, _LAYER)}
  hidden = [layer.name for layer in layers if layer.name not in seen]
  if hidden:
    cause = _hiding(jaxpr, path_of(hidden[0]))
    raise ValueError(
      f'layer {hidden[0]!r} runs inside {cause} ({len(hidden)} such layers)'
    )
  if not layers:
    raise ValueError(
      f'{network.name} calls no layer that can have a student: no '
      'two-dimensional convolution and no fully connected layer'
    )


_CAUSES = {
  'checkpoint': (
    'nn.remat or nnx.remat, where its frames cannot be followed; build the '
    'network without it, `Block` in place of `nn.remat(Block)`, which changes '
    'no parameter and no result'
  ),
  'scan': (
    'nn.scan or nnx.scan, where its frames cannot be followed; call the layers '
    'one by one, `for i in range(depth): x = Block(name=f"block_{i}")(x)` '
    '(nnx: `for block in blocks: x = block(x)`), and give each its own of the '
    'stacked parameters, `jax.tree.map(lambda p: p[i], stacked)`'
  ),
}


def _hiding(jaxpr, path: str) -> str:
  """What a layer runs inside of, and what to do about it."""
  for eqn in jaxpr.eqns:
    for inner in jaxprs_in_params(eqn.params):
      calls = [_tag(eqn).removeprefix(_LAYER) for eqn in _tags(inner, _LAYER)]
      if path in map(path_of, calls):
        name = eqn.primitive.name
        return _CAUSES.get(
          'checkpoint' if name.startswith('remat') else name,
          f'{name} or another traced transformation, where its frames cannot '
          'be followed; build the network without it',
        )
      if (cause := _hiding(inner, path)) != _UNKNOWN:
        return cause
  return _UNKNOWN


_UNKNOWN = (
  'a traced transformation, where its frames cannot be followed; build the '
  'network without it'
)


def span(survey: Survey, first: str, last: str) -> Block:
  """What lies between two layers, as a block.

  Args:
    survey: of the network.
    first: name of the first layer.
    last: name of the last one.

  Raises:
    ValueError: there are no such layers in this order, the first or the last
      runs on windows of a frame, one of those between is called more than once
      or read from outside, or reads what does not come from the first.
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
  for layer in inside[:: len(inside) - 1]:
    if layer.windows > 1:
      raise ValueError(f'no span begins or ends in windows: {layer.path!r}')
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
  """Batch norms that read a layer's output where nothing else does."""
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
  """Whose outputs each layer reads, and the network's outputs ('')."""
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
