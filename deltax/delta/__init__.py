"""Delta distillation: full price on key frames, cheap students in between."""

from deltax.delta import (
  choice,
  gates,
  keyframes,
  latency,
  losses,
  sensitivity,
  streams,
)
from deltax.delta.blocks import BlockCandidate, NoChange, Residual
from deltax.delta.cost import Macs, count
from deltax.delta.freeze import Frozen
from deltax.delta.functions import Aux, Delta
from deltax.delta.layers import Block, Layer
from deltax.delta.spec import Spec, all_but_first_and_last, make_spec
from deltax.delta.streamer import Streamer
from deltax.delta.students import Candidate, Full, LowRank, Skip, Teacher
from deltax.delta.students_coarse import Strided
from deltax.delta.students_narrow import Bottleneck, Depthwise
from deltax.delta.transform import distill

__all__ = [
  'Aux',
  'Block',
  'BlockCandidate',
  'Bottleneck',
  'Candidate',
  'Delta',
  'Depthwise',
  'Frozen',
  'Full',
  'Layer',
  'LowRank',
  'Macs',
  'NoChange',
  'Residual',
  'Skip',
  'Spec',
  'Streamer',
  'Strided',
  'Teacher',
  'all_but_first_and_last',
  'choice',
  'count',
  'distill',
  'gates',
  'keyframes',
  'latency',
  'losses',
  'make_spec',
  'sensitivity',
  'streams',
]
