"""Sizes and costs of the networks beside the published ones."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from deltax import models
from deltax.convert import published_spec
from deltax.delta import Spec, distill, make_spec
from deltax.delta.cost import as_published

SEGMENTATION = Spec()
DETECTION = make_spec(**published_spec('efficientdet_d0'))


class Published(NamedTuple):
  """Parameters in millions, multiply-accumulates in billions.

  Attributes:
    size: rows and columns of the frames.
    classes: K.
    spec: what is distilled.
    parameters: of the teacher, of the full copies, of the low-rank pairs.
    teacher: cost of the teacher.
    amortised: cost with every gate on the low-rank pair, by interval.
  """

  size: tuple[int, int]
  classes: int
  spec: Spec
  parameters: tuple[float, float, float]
  teacher: float
  amortised: dict[int, float]


CITYSCAPES = (1024, 2048), 19, SEGMENTATION
NETWORKS = {
  'ddrnet23_slim': Published(
    *CITYSCAPES,
    (5.696, 5.674, 1.295),
    36.39,
    {2: 22.15, 3: 17.40, 5: 13.60, 10: 10.75},
  ),
  'ddrnet23': Published(
    *CITYSCAPES,
    (20.149, 20.107, 4.618),
    143.29,
    {2: 86.74, 3: 67.89, 5: 52.81, 10: 41.50},
  ),
  'ddrnet39': Published(
    *CITYSCAPES,
    (32.360, 32.305, 6.695),
    281.45,
    {2: 167.84, 3: 129.97, 5: 99.67, 10: 76.95},
  ),
  'hrnet_w18_small': Published(
    *CITYSCAPES,
    (3.940, 3.916, 0.836),
    77.21,
    {2: 51.49, 3: 42.91, 5: 36.05, 10: 30.91},
  ),
  'efficientdet_d0': Published(
    (512, 512),
    30,
    DETECTION,
    (3.845, 2.958, 0.228),
    2.311,
    {2: 1.380, 3: 1.069, 5: 0.821, 10: 0.635},
  ),
  # Without the layers that look at boxes, which run on every frame.
  'faster_rcnn_r101_dc5': Published(
    (584, 966),
    30,
    DETECTION,
    (81.224, 54.183, 2.932),
    140.63,
    {2: 75.02, 5: 35.66, 10: 22.54},
  ),
}


@functools.cache
def build(name):
  """A network, its delta network, and parameters as shapes."""
  row = NETWORKS[name]
  net = models.create(name, num_classes=row.classes)
  delta = distill(net, row.spec)
  frame = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  params = jax.eval_shape(delta.init, jax.random.key(0), variables, frame)
  return net, delta, params


def millions(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) / 1e6


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_has_the_published_number_of_parameters(name):
  _, _, params = build(name)
  full, low_rank, biases = [], [], []
  for path, (copy, pair) in (
    (path, own.values()) for path, own in params['students'].items()
  ):
    full.append(copy)
    low_rank.append(pair)
    node = functools.reduce(
      dict.get, path.split('/'), params['teacher']['params']
    )
    # The published students also have their teacher's bias.
    biases.append(node.get('bias'))
  own = params['teacher']['params'], (full, biases), (low_rank, biases)
  counts = tuple(millions(tree) for tree in own)
  assert counts == pytest.approx(NETWORKS[name].parameters, abs=6e-4)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_costs_the_published_number_of_operations(name):
  row, (net, delta, params) = NETWORKS[name], build(name)
  gates = dict.fromkeys(params['gates'], jnp.array([-1.0]))
  frame = jax.ShapeDtypeStruct((1, *row.size, 3), jnp.float32)
  macs = delta.macs({**params, 'gates': gates}, frame)
  macs = as_published(macs, net, params['teacher'], frame)
  own = {interval: macs.amortised(interval) / 1e9 for interval in row.amortised}
  assert macs.key / 1e9 == pytest.approx(row.teacher, rel=5e-3)
  assert own == pytest.approx(row.amortised, rel=5e-3)


def test_full_copies_cost_what_the_teacher_does():
  _, delta, params = build('ddrnet23_slim')
  gates = dict.fromkeys(params['gates'], jnp.array([1.0]))
  frame = jax.ShapeDtypeStruct((1, 128, 256, 3), jnp.float32)
  macs = delta.macs({**params, 'gates': gates}, frame)
  biases = macs.key - macs.later
  assert 0 < biases < 0.005 * macs.key  # which students do not have
