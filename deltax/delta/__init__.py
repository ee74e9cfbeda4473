"""Delta distillation: full price on key frames, cheap students in between."""

from deltax.delta import gates, losses
from deltax.delta.cost import Macs, count
from deltax.delta.freeze import Frozen
from deltax.delta.layers import Layer
from deltax.delta.spec import Spec, all_but_first_and_last, make_spec
from deltax.delta.students import Candidate, Full, LowRank
from deltax.delta.transform import Aux, Delta, distill

__all__ = [
  'Aux',
  'Candidate',
  'Delta',
  'Frozen',
  'Full',
  'Layer',
  'LowRank',
  'Macs',
  'Spec',
  'all_but_first_and_last',
  'count',
  'distill',
  'gates',
  'losses',
  'make_spec',
]
