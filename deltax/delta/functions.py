"""The functions of a delta network, as `deltax.delta.distill` gives them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from deltax.delta import cost
from deltax.delta.freeze import Frozen
from deltax.types import Array, Carry, Key, Params

Gates = dict[str, Array]


class Aux(NamedTuple):
  """What a training pass leaves beside its outputs.

  Attributes:
    deltas: `[B, T', H, W, N]` predicted change of every layer's and block's
      output on the T' later frames, by call.
    gates: `[K]` weights of the candidates by layer; None for the hard choice.
    batch_stats: batch statistics after the pass.
  """

  deltas: dict[str, Array]
  gates: Gates | None
  batch_stats: Any


class Delta(NamedTuple):
  """Pure functions of a distilled network; see `distill`.

  `params` is `{'teacher': variables, 'students': {path: {candidate: ...}},
  'gates': {path: [K - 1]}}`. Frames are `[B, H, W, C]` and clips
  `[B, T, H, W, C]`, float32, as the network takes them.

  Attributes:
    init: `(key, teacher_variables, frame) -> params`. Students start from the
      teacher's kernels; the key is for candidates that draw: those of blocks.
    keyframe: `(params, frame) -> (carry, out)`. The teacher, and what later
      frames need of it.
    step: `(params, carry, frame) -> (carry, out)`. A later frame, by the
      students that the gates choose.
    rollout: `(params, clip, interval, *, phase=0) -> outs [B, T, ...]`. A
      `lax.scan` over the clip; frame t is a key frame when t + phase is a
      multiple of the interval, and frame 0 always is. Both may be traced.
    clip: `(params, clip, *, key=None, train=False, gates=None, interval=None,
      scan=False) -> (outs [B, T, ...], Aux)`. All frames in one pass, for
      training: time is folded into the batch. `train` uses batch statistics and
      samples the gates with `key`; `gates` fixes their weights instead.
      `interval` sets key frames inside the clip (default: frame 0 only).
      `scan` rolls the clip through `lax.scan` instead, with the same outputs
      and gradients; batch statistics are then the running ones.
    reference: `(params, clip, *, interval=None) -> (outs [B, T, ...], deltas)`.
      The teacher on every frame with running statistics, and its own changes:
      the targets of distillation. No gradient flows through.
    sample: `(key, params) -> gates`. A hard sample of every gate, with the
      gradient of the soft one.
    choose: `(params) -> {path: index}`. The hard choice: of two candidates, the
      first if its logit is positive.
    macs: `(params, frame) -> Macs`. Cost of every layer under that choice.
    costs: `(params, frame) -> ({path: (cost of each candidate, ...)}, {path:
      cost of the teacher})`, multiply-accumulates for `losses.budget`.
    freeze: `(params, frame, *, dtype=None) -> Frozen`. The deployed form:
      chosen students only, batch norm folded, one cached array a layer. It
      takes frames of any size; that of `frame` is only to find which batch norm
      follows which convolution: 128 x 128 pixels of RGB when absent. `dtype`:
      see
      `deltax.delta.freeze.in_dtype`.
  """

  init: Callable[..., Params]
  keyframe: Callable[..., tuple[Carry, Any]]
  step: Callable[..., tuple[Carry, Any]]
  rollout: Callable[..., Any]
  clip: Callable[..., tuple[Any, Aux]]
  reference: Callable[..., tuple[Any, dict[str, Array]]]
  sample: Callable[[Key, Params], Gates]
  choose: Callable[[Params], dict[str, int]]
  macs: Callable[..., cost.Macs]
  costs: Callable[..., tuple[dict, dict]]
  freeze: Callable[..., Frozen]
