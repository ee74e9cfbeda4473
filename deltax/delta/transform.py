"""`distill`: any network as a key-frame pass and cheap later frames.

The teacher's layers run on key frames. On a later frame students predict how
the output of each layer has changed since the reference frame. Whatever lies
between runs unchanged on every frame.

Source: Habibian et al., "Delta Distillation for Efficient Video Processing",
ECCV 2022, section 3.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deltax.delta import cost
from deltax.delta import gates as gating
from deltax.delta.adapters import Network, as_network
from deltax.delta.deploy.freeze import freeze
from deltax.delta.deploy.frozen import Frozen, in_dtype
from deltax.delta.passes.clip import run_folded, run_reference, run_scanned
from deltax.delta.passes.frame import Gates, run_keyframe, run_later
from deltax.delta.plan import Planner
from deltax.delta.schedule import check_frames, roll_fixed
from deltax.delta.spec import Spec
from deltax.types import Array, Carry, Key, Params

RGB = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)


class Aux(NamedTuple):
  """What a training pass gives beside its outputs.

  Attributes:
    deltas: `[B, T', H, W, N]` predicted change of every layer's and block's
      output on the T' later frames, by call; `[B, T', tokens, N]` and the like
      of tokens, `[B, T', windows, tokens, N]` where a frame has several rows of
      the batch.
    gates: `[K]` weights of the candidates by layer; None for the hard choice.
    batch_stats: batch statistics after the pass.
  """

  deltas: dict[str, Array]
  gates: Gates | None
  batch_stats: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Delta:
  """A delta network: pure functions of its parameters; see `distill`.

  `params` is `{'teacher': variables, 'students': {path: {candidate: ...}},
  'gates': {path: [K - 1]}}`. Frames are `[B, H, W, C]` and clips
  `[B, T, H, W, C]`, float32, as the network takes them.

  Every method is pure and may be compiled, mapped and differentiated, except
  `choose`, `macs` and `costs`, which give Python numbers. Of frames, `init`,
  `macs`, `costs` and `freeze` only look at the shape. All raise a ValueError
  for frames or clips of another rank, and if layers of the network are hidden
  (`nn.scan`, `nn.remat`) or the spec picks none.

  Attributes:
    net: the network.
    spec: which layers, which candidates, against which frame.
  """

  net: Network
  spec: Spec

  @functools.cached_property
  def _plan(self) -> Planner:
    return Planner(self.net, self.spec)

  def init(self, key: Key, teacher_variables: Any, frame: Any) -> Params:
    """Parameters: the teacher's, and students that start from its kernels.

    Args:
      key: for candidates that draw: those of blocks.
      teacher_variables: of the network, as its own `init` or training gives
        them; of nnx, `nnx.state(module)`.
      frame: `[B, H, W, C]`.

    Returns:
      The parameters; gates only where there are several candidates.

    Raises:
      ValueError: a layer cannot have one of its candidates, or a variable is
        missing.
    """
    teacher = self.net.taken(teacher_variables)
    selected = self._plan(teacher, frame.shape).selected
    keys = jax.random.split(key, len(selected))
    students, logits = {}, {}
    for own_key, (path, (unit, candidates)) in zip(
      keys, selected.items(), strict=True
    ):
      layer = None
      if unit.linear:
        layer = unit.weights(self.net.layer(teacher, path))
      students[path] = unit.start(own_key, layer, candidates)
      if self.spec.against.absolute and unit.bias:
        # A change has no bias, but the output that is predicted here has one.
        for student in students[path].values():
          student['bias'] = jnp.array(layer['bias'])
      if len(candidates) > 1:
        logits[path] = jnp.full((len(candidates) - 1,), self.spec.initial_logit)
    return {
      'teacher': teacher,
      'students': students,
      'gates': logits,
    }

  def keyframe(self, params: Params, frame: Array) -> tuple[Carry, Any]:
    """A key frame: the teacher, and what later frames need of it.

    Args:
      params: of the delta network.
      frame: `[B, H, W, C]`.

    Returns:
      The carry, `{name: {'x': inputs, 'z': output}}` of every call that has
      students, and the outputs of the network.
    """
    check_frames(frame, 4)
    plan = self._plan(params['teacher'], frame.shape)
    return run_keyframe(plan, params, frame)

  def step(
    self, params: Params, carry: Carry, frame: Array
  ) -> tuple[Carry, Any]:
    """A later frame, by the students that the gates choose.

    Args:
      params: of the delta network.
      carry: of the frame before, from `keyframe` or `step`.
      frame: `[B, H, W, C]`.

    Returns:
      The next carry, and the outputs of the network.
    """
    check_frames(frame, 4)
    plan = self._plan(params['teacher'], frame.shape)
    carry, outputs, _ = run_later(plan, params, carry, frame, None)
    return carry, outputs

  def rollout(
    self, params: Params, clip: Array, interval: Any, *, phase: Any = 0
  ) -> Any:
    """A clip frame by frame, under `lax.scan`.

    Args:
      params: of the delta network.
      clip: `[B, T, H, W, C]`.
      interval: distance of key frames, in frames; may be traced.
      phase: frame t is a key frame when t + phase is a multiple of the
        interval, and frame 0 always is. May be traced.

    Returns:
      The outputs of the network, `[B, T, ...]`.

    Raises:
      ValueError: if the interval is below 1.
    """
    return roll_fixed(
      functools.partial(self.keyframe, params),
      functools.partial(self.step, params),
      clip,
      interval,
      phase,
    )

  def clip(
    self,
    params: Params,
    clip: Array,
    *,
    key: Key | None = None,
    train: bool = False,
    gates: Gates | None = None,
    interval: int | None = None,
    scan: bool = False,
  ) -> tuple[Any, Aux]:
    """All frames of a clip in one pass, for training.

    Time is folded into the batch: every layer runs once on all key frames, and
    its students once on all later frames. Outputs are those of `rollout`.

    Args:
      params: of the delta network.
      clip: `[B, T, H, W, C]`.
      key: samples the gates, and dropout.
      train: whether batch norm takes and updates the statistics of the batch,
        and gates are sampled where `gates` are not given.
      gates: `[K]` weights of the candidates by path, in place of a sample or of
        the hard choice.
      interval: distance of key frames; frame 0 alone when absent.
      scan: rolls the clip through `lax.scan` instead, with the same outputs and
        gradients; batch statistics are then the running ones.

    Returns:
      The outputs `[B, T, ...]`, and what the losses need beside them.

    Raises:
      ValueError: training without key and gates, or an interval below 1.
    """
    check_frames(clip, 5)
    plan = self._plan(params['teacher'], clip.shape)
    interval = interval or clip.shape[1]
    if train and gates is None:
      if key is None:
        raise ValueError(
          'clip(train=True) samples gates; it needs key= or gates='
        )
      gates = self.sample(key, params)
    if scan:
      outputs, deltas = run_scanned(plan, params, clip, interval, gates)
      statistics = self.net.statistics(params['teacher'])
      return outputs, Aux(deltas, gates, statistics)
    # Far from the numbers that the gates fold in: noise of its own.
    key = None if key is None else jax.random.fold_in(key, 1 << 20)
    outputs, deltas, statistics = run_folded(
      plan, params, clip, interval, gates, train=train, key=key
    )
    return outputs, Aux(deltas, gates, statistics)

  def reference(
    self, params: Params, clip: Array, *, interval: int | None = None
  ) -> tuple[Any, dict[str, Array]]:
    """The teacher on every frame, and its own changes: what is distilled.

    Statistics are the running ones, and no gradient flows through.

    Args:
      params: of the delta network.
      clip: `[B, T, H, W, C]`.
      interval: distance of key frames; frame 0 alone when absent.

    Returns:
      The outputs `[B, T, ...]`, and `[B, T', H, W, N]` changes on the T' later
      frames, by call.
    """
    check_frames(clip, 5)
    plan = self._plan(params['teacher'], clip.shape)
    return run_reference(plan, params, clip, interval or clip.shape[1])

  def sample(self, key: Key, params: Params) -> Gates:
    """A hard sample of every gate, with the gradient of the soft one.

    Args:
      key: the same on every device, or each device trains another network.
      params: of the delta network.

    Returns:
      `[K]` weights of the candidates by path.
    """
    return gating.sample(key, params.get('gates', {}), self.spec.temperature)

  def choose(self, params: Params) -> dict[str, int]:
    """The hard choice: index of the candidate by path.

    Of two candidates it is the first if its logit is positive.
    """
    gates = params.get('gates', {})  # a saved tree has no empty branches
    return {
      path: int(gating.choose(gates[path])) if path in gates else 0
      for path in {**params['students'], **gates}
    }

  def macs(self, params: Params, frame: Any) -> cost.Macs:
    """Multiply-accumulates of every layer under the hard choice.

    Args:
      params: of the delta network.
      frame: `[B, H, W, C]`; costs are those of one frame.
    """
    plan = self._plan(params['teacher'], frame.shape)
    choices, refused = self.choose(params), self.spec.refused(plan.survey)
    return cost.table(plan.survey, plan.selected, choices, refused)

  def costs(
    self, params: Params, frame: Any
  ) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
    """What each candidate would cost, for `losses.budget`.

    Args:
      params: of the delta network; only the teacher's shapes matter.
      frame: `[B, H, W, C]`.

    Returns:
      Multiply-accumulates of one frame, of every candidate and of the teacher's
      own layer or block, both by path.
    """
    plan = self._plan(params['teacher'], frame.shape)
    return cost.prices(plan.survey, plan.selected)

  def freeze(
    self, params: Params, frame: Any = RGB, *, dtype: Any = None
  ) -> Frozen:
    """The deployed form: chosen students, folded batch norm, a small carry.

    Args:
      params: of the delta network.
      frame: `[B, H, W, C]`, to find which batch norm follows which layer; the
        result takes frames of any size.
      dtype: of weights, activations and carry, such as `jnp.bfloat16`; see
        `deltax.delta.deploy.frozen.in_dtype`.

    Returns:
      The parameters and pure functions of them.

    Raises:
      ValueError: for students of blocks whose reference is the frame before.
    """
    # Later frames of another size need only its plan, not the arrays.
    variables = jax.eval_shape(lambda x: x, params['teacher'])
    plan_of = functools.partial(self._plan, variables)
    frozen = freeze(params, plan_of, frame.shape, self.choose(params))
    return frozen if dtype is None else in_dtype(frozen, dtype)


def distill(net: Any, spec: Spec | None = None) -> Delta:
  """Turns a network into a delta network.

  Args:
    net: any network of `flax.linen` or `flax.nnx` whose layers are not hidden
      in `scan` or `remat`. One of linen is evaluated by `net.apply(variables,
      frames)`, with its flag for training where it has one; one of nnx by
      `net(frames)`, after `net.eval()` or `net.train()` of a copy. Of nnx, a
      GraphDef will do. `as_network` says how else a network is called.
    spec: which layers, which candidates, against which frame; the published
      segmentation setting when absent.

  Returns:
    The delta network.

  Raises:
    TypeError: it is no network.

  Example:
    >>> import flax.linen as nn
    >>> net = nn.Sequential([nn.Conv(4, (3, 3)) for _ in range(3)])
    >>> delta = distill(net)
    >>> frame = jnp.ones((1, 8, 8, 3))
    >>> teacher = net.init(jax.random.key(0), frame)
    >>> params = delta.init(jax.random.key(1), teacher, frame)
    >>> delta.choose(params)
    {'layers_1': 1}
    >>> delta.rollout(params, jnp.ones((1, 5, 8, 8, 3)), interval=5).shape
    (1, 5, 8, 8, 4)
  """
  return Delta(as_network(net), spec or Spec())
