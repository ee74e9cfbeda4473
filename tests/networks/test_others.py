"""Networks that others wrote and published, as small as they can be built."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AxisType
from properties import (
  Case,
  check_copies_give_the_teacher,
  check_frozen_is_unfrozen,
  check_gradients_are_finite,
  check_programs_are_lowered,
  check_the_clip_is_the_loop,
  check_the_rollout_is_the_loop,
  macs_of,
  noisy,
)

from deltax.delta import distill

SIZE = 32


def clip_of(cols):
  return jax.random.normal(jax.random.key(0), (2, 7, SIZE, cols, 3))


def resnet():
  """A ResNet of two stages, of `jax-resnet`."""
  jax_resnet = pytest.importorskip('jax_resnet')
  net = jax_resnet.ResNet18(
    n_classes=5, stage_sizes=[1, 1], hidden_sizes=(8, 12)
  )
  clip = clip_of(48)
  variables = jax.jit(net.init)(jax.random.key(1), clip[:, 0])
  return Case(net, noisy(variables, 0), clip)


def jimm(name, **options):
  """A transformer of `jax-image-models`, which stacks and scans its layers."""
  models = pytest.importorskip('jimm.models')
  sharding = pytest.importorskip('jimm.common.sharding')
  return getattr(models, name)(
    img_size=SIZE,
    patch_size=8,
    num_layers=2,
    num_heads=2,
    mlp_dim=32,
    hidden_size=16,
    sharding=sharding.NoSharding(),
    rngs=nnx.Rngs(0),
    **options,
  )


def unstacked(stack, depth):
  """A list of the layers that a stack of them holds."""
  graph, state = nnx.split(stack)
  layers = [[leaf[i] for leaf in jax.tree.leaves(state)] for i in range(depth)]
  return nnx.List([nnx.merge(graph, layer) for layer in layers])


def unrolled(net, monkeypatch):
  """The layers one by one: a list of them, and a loop where a scan was."""
  net.encoder.layers = unstacked(net.encoder.layers, 2)
  monkeypatch.setattr(
    'jimm.common.vit.scan_forward',
    lambda x, layers: functools.reduce(lambda x, layer: layer(x), layers, x),
  )
  variables = nnx.to_pure_dict(nnx.state(net, nnx.Param))
  return Case(net, noisy(variables, 0), clip_of(SIZE))


@pytest.fixture
def mesh():
  """One device, by name: what `jax-image-models` runs on, if on anything."""
  mesh = jax.make_mesh(
    (1,), ('all',), (AxisType.Explicit,), devices=jax.devices()[:1]
  )
  with jax.set_mesh(mesh), jax.numpy_rank_promotion('allow'):
    yield


TRANSFORMERS = {
  'VisionTransformer': {'num_classes': 5, 'dropout_rate': 0.0},
  'DINOv2Model': {'layer_scale_init': 0.5},
}


@pytest.fixture(params=['ResNet18', *TRANSFORMERS])
def case(request, mesh, monkeypatch):
  if request.param == 'ResNet18':
    return resnet()
  net = jimm(request.param, **TRANSFORMERS[request.param])
  return unrolled(net, monkeypatch)


def macs_of_resnet():
  fine, coarse = 8 * 12, 4 * 6
  first = fine * 9 * (64 * 8 + 8 * 8) + fine * 64 * 8
  second = coarse * 9 * (8 * 12 + 12 * 12) + coarse * 8 * 12
  return 16 * 24 * 49 * 3 * 64 + first + second + 12 * 5


def macs_of_transformer(classes):
  tokens, width = 17, 16
  attention = 4 * tokens * width**2 + 2 * tokens * tokens * width
  layer = attention + 2 * tokens * width * 32
  return 16 * width * (64 * 3 + 1) + 2 * layer + classes * width


def test_networks_of_others_are_distilled_and_frozen(case):
  check_frozen_is_unfrozen(case)
  expected = {
    'VisionTransformer': macs_of_transformer(5),
    'DINOv2Model': macs_of_transformer(0),
  }
  kind = type(case.net).__name__
  assert macs_of(case) == expected.get(kind, macs_of_resnet())


@pytest.mark.slow
def test_networks_of_others_have_all_other_properties_too(case):
  check_copies_give_the_teacher(case)
  check_the_rollout_is_the_loop(case)
  check_the_clip_is_the_loop(case, 7)
  check_gradients_are_finite(case)
  check_programs_are_lowered(case)


def test_layers_that_are_scanned_over_are_refused_with_what_helps(mesh):
  net, frame = jimm('DINOv2Model'), jnp.zeros((1, SIZE, SIZE, 3))
  with pytest.raises(ValueError, match=r'runs inside nn\.scan.*one by one'):
    distill(net).init(jax.random.key(0), nnx.state(net), frame)
