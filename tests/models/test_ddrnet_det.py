"""DDRNet as a detector: its anchors, its start, its deltas."""

import jax
import jax.numpy as jnp
import pytest

from deltax import delta, models
from deltax.boxes import pyramid_anchors

NET = models.create('ddrnet23_det_tiny', num_classes=3)


@pytest.fixture(scope='module')
def outputs():
  frames = jax.random.normal(jax.random.key(0), (2, 32, 64, 3))
  variables = jax.jit(NET.init)(jax.random.key(1), frames)
  return jax.jit(NET.apply)(variables, frames)


def anchors(size):
  return pyramid_anchors(
    size,
    levels=NET.levels,
    octaves=NET.octaves,
    aspects=NET.aspects,
    scale=NET.anchor_scale,
  )


def test_there_is_one_answer_for_every_anchor(outputs):
  count = len(anchors((32, 64)))
  assert count == 3 * (8 * 16 + 4 * 8 + 2 * 4 + 1 * 2)  # aspects, places
  assert outputs['classes'].shape == (2, count, 3)
  assert outputs['boxes'].shape == (2, count, 4)


def test_objects_are_rare_at_the_start(outputs):
  chances = jax.nn.sigmoid(outputs['classes'])
  assert 0.001 < float(jnp.median(chances)) < 0.1


def test_most_of_its_cost_is_in_layers_with_students():
  net = models.create('ddrnet23_det', num_classes=3)
  frame = jax.ShapeDtypeStruct((1, 128, 256, 3), jnp.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  distilled = delta.distill(
    net, delta.make_spec(candidates=(('low_rank', 4, 'out'),))
  )
  params = jax.eval_shape(distilled.init, jax.random.key(0), variables, frame)
  macs = distilled.macs(params, frame)
  assert macs.amortised(5) < 0.4 * macs.key
