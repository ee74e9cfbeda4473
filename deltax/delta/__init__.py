"""Delta distillation: a network on key frames, small students in between."""

from deltax.delta import gates, losses
from deltax.delta.adapters import as_network
from deltax.delta.cost import Macs, count
from deltax.delta.deploy.frozen import Frozen
from deltax.delta.run import keyframes, streams
from deltax.delta.run.streamer import Streamer
from deltax.delta.search import choice, latency, sensitivity
from deltax.delta.search.fit import Fitted, fit, gate_logits
from deltax.delta.spec import Spec, all_but_first_and_last, make_spec
from deltax.delta.students.blocks import BlockCandidate, NoChange, Residual
from deltax.delta.students.coarse import Strided
from deltax.delta.students.layers import Candidate, Full, LowRank, Skip, Teacher
from deltax.delta.students.narrow import Bottleneck, Depthwise
from deltax.delta.transform import Aux, Delta, distill
from deltax.delta.units import Block, Dense, Layer, NoStart

__all__ = [
  'Aux',
  'Block',
  'BlockCandidate',
  'Bottleneck',
  'Candidate',
  'Delta',
  'Dense',
  'Depthwise',
  'Fitted',
  'Frozen',
  'Full',
  'Layer',
  'LowRank',
  'Macs',
  'NoChange',
  'NoStart',
  'Residual',
  'Skip',
  'Spec',
  'Streamer',
  'Strided',
  'Teacher',
  'all_but_first_and_last',
  'as_network',
  'choice',
  'count',
  'distill',
  'fit',
  'gate_logits',
  'gates',
  'keyframes',
  'latency',
  'losses',
  'make_spec',
  'sensitivity',
  'streams',
]
