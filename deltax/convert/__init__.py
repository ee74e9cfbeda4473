"""Published PyTorch weights as flax variables, complete or an error."""

from deltax.convert.delta import delta_from_state_dict
from deltax.convert.state_dict import from_state_dict

__all__ = ['delta_from_state_dict', 'from_state_dict']
