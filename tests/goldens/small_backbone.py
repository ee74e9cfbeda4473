"""A backbone that compiles at once, to stand in for a named one."""

import contextlib

import flax.linen as nn
import pytest

from deltax import models
from deltax.layers import conv2d
from deltax.systems import extractors

NAME, CHANNELS, CHUNK = 'small_for_tests', 4 + 6 + 8 + 8, 4


class Small(nn.Module):
  """Maps of four stages, quick to compile."""

  num_classes: None

  @nn.compact
  def __call__(self, x):
    maps = []
    for i, (stride, features) in enumerate(((4, 4), (2, 6), (2, 8), (2, 8))):
      x = nn.relu(conv2d(features, stride=stride, name=f'conv{i}')(x))
      maps.append(x)
    return maps


@contextlib.contextmanager
def installed():
  """While open, `make_extractor(NAME, weights=...)` makes an extractor."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(models.MODELS, NAME, Small)
    backbone = extractors._Backbone((0, 1, 2, 3), packaged=False)
    patch.setitem(extractors.EXTRACTORS, NAME, backbone)
    patch.setattr(extractors, 'CHUNK', CHUNK)
    yield
