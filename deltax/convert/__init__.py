"""Published PyTorch weights as flax variables, complete or an error."""

from deltax.convert.checkpoint import (
  FRAME_BASED,
  Converted,
  convert,
  converted_layers,
  published_spec,
  read_checkpoint,
  read_costs,
)
from deltax.convert.delta import delta_from_state_dict
from deltax.convert.state_dict import from_state_dict
from deltax.convert.torch_file import TorchFileError

__all__ = [
  'FRAME_BASED',
  'Converted',
  'TorchFileError',
  'convert',
  'converted_layers',
  'delta_from_state_dict',
  'from_state_dict',
  'published_spec',
  'read_checkpoint',
  'read_costs',
]
