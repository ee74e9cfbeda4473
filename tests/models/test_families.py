"""Networks by name: what an entry of `MODELS` says."""

import flax.linen as nn
import pytest

from deltax import models
from deltax.convert import published_spec


@pytest.mark.parametrize('name', models.MODELS)
def test_every_network_has_a_family_and_can_be_made(name):
  assert models.family(name)
  assert isinstance(models.create(name, num_classes=3), nn.Module)


def test_a_network_added_as_a_bare_function_has_no_family(monkeypatch):
  monkeypatch.setitem(
    models.MODELS, 'added', lambda num_classes: nn.Dense(num_classes)
  )
  assert models.create('added', num_classes=3).features == 3
  assert models.family('added') is models.family('unknown') is None
  assert published_spec('added') == {}


def test_the_published_setting_goes_by_family():
  assert published_spec('efficientdet_tiny') == published_spec(
    'faster_rcnn_r101_dc5'
  )
  assert published_spec('ddrnet23_det') == {}
