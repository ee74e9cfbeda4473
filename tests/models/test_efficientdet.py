"""EfficientDet: shapes, names and what its parts do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models
from deltax.boxes import pyramid_anchors
from deltax.convert.state_dict import shapes_of
from deltax.delta.spec import RULES
from deltax.delta.survey import survey
from deltax.layers import max_pool
from deltax.models import efficientdet

FRAME = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.float32)


def outputs(net, shape):
  frame = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(
    lambda key, frame: net.init_with_output(key, frame)[0],
    jax.random.key(0),
    frame,
  )


@pytest.mark.parametrize('size', [(128, 128), (64, 192), (72, 136), (40, 40)])
@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('efficientdet_d0', {}),
    ('efficientdet_d0', {'backbone': 'efficientnet_lite0'}),
    ('efficientdet_d0', {'levels': (2, 5)}),
    ('efficientdet_tiny', {}),
  ],
)
def test_every_anchor_has_an_answer_for_any_size_of_frame(name, options, size):
  net = models.create(name, num_classes=3, **options)
  outs = outputs(net, (2, *size, 3))
  anchors = pyramid_anchors(size, levels=net.levels, octaves=net.octaves)
  assert outs['classes'].shape == (2, len(anchors), 3)
  assert outs['boxes'].shape == (2, len(anchors), 4)


def test_the_published_fusions_are_those_of_five_levels():
  offsets = [nodes for _, nodes in efficientdet.fusions(5)]
  levels = [level for level, _ in efficientdet.fusions(5)]
  assert offsets == [
    *((3, 4), (2, 5), (1, 6), (0, 7)),
    *((1, 7, 8), (2, 6, 9), (3, 5, 10), (4, 11)),
  ]
  assert levels == [3, 2, 1, 0, 1, 2, 3, 4]


def test_a_fusion_is_a_mean_with_weights_not_below_zero():
  norm = functools.partial(
    efficientdet.BatchNorm, use_running_average=True, epsilon=1e-3
  )
  combine = efficientdet.Combine(4, norm, (0, 2, 1))
  key = jax.random.key(0)
  nodes = [
    jax.random.normal(jax.random.fold_in(key, i), (1, side, side, 4))
    for i, side in enumerate((16, 8, 4))
  ]
  weights = jnp.array([0.5, -3.0, 1.5])
  out = jax.jit(
    lambda nodes: combine.apply(
      {'params': {'edge_weights': weights}}, nodes, (8, 8)
    )
  )(nodes)
  want = (0.5 * max_pool(nodes[0]) + 1.5 * nodes[1]) / 2
  np.testing.assert_allclose(out, want, atol=1e-3)


def test_levels_share_convolutions_and_have_norms_of_their_own():
  net = models.create('efficientdet_d0', num_classes=30)
  found = survey(net, shapes_of(net), FRAME)
  calls = [layer.call for layer in found.layers if 'class_net' in layer.path]
  assert calls == [level for level in range(5) for _ in range(8)]
  norms = shapes_of(net)['params']['class_net']
  assert sum(name.startswith('bn_rep') for name in norms) == 15
  shared = [path for path in found.norms if path.startswith('class_net')]
  assert not shared, 'a norm of one level is no part of a shared convolution'


def test_the_published_rule_leaves_ends_depthwise_and_squeezing_alone():
  net = models.create('efficientdet_d0', num_classes=30)
  layers = survey(net, shapes_of(net), FRAME).layers
  layers = [layer for layer in layers if not layer.call]
  chosen = {layer.path for layer in RULES['detector'](layers)}
  assert len(chosen) == 68
  assert {layer.kernel[:2] for layer in layers if layer.path in chosen} == {
    (1, 1)
  }
  left = {layer.path for layer in layers} - chosen
  assert {path for path in left if not path.endswith('conv_dw')} == {
    'backbone/conv_stem',
    'box_net/predict/conv_pw',
    *(path for path in left if '/se/' in path),
  }


def test_a_fresh_network_finds_objects_rare():
  net = models.create('efficientdet_tiny', num_classes=3)

  @jax.jit
  def bias(key):
    variables = net.init(key, jnp.zeros((1, 64, 64, 3)))
    return variables['params']['class_net']['predict']['conv_pw']['bias']

  probability = jax.nn.sigmoid(bias(jax.random.key(0)))
  np.testing.assert_allclose(probability, 0.01, rtol=1e-5)


@pytest.mark.parametrize('drop', [0.0, 0.2])
@pytest.mark.parametrize('train', [False, True])
def test_paths_are_dropped_in_training_if_asked_for(drop, train):
  net = models.create('efficientdet_tiny', num_classes=3, drop_path=drop)

  def apply(variables, frames, key):
    return net.apply(
      variables,
      frames,
      train=train,
      mutable=['batch_stats'],
      rngs={'dropout': key},
    )

  program = jax.make_jaxpr(apply)(shapes_of(net), FRAME, jax.random.key(0))
  assert ('random_bits' in str(program)) == (train and drop > 0)
