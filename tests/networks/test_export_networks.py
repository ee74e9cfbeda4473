"""Every network as programs that run without the library."""

import jax
import jax.export
import nnx_networks
import numpy as np
import pytest
from exported import RUN, distilled, frames_of, rollout
from flax import nnx

from deltax import models
from deltax.convert import published_spec
from deltax.delta import distill, make_spec
from deltax.delta.export import export

INSIDE = {
  'ddrnet': ('BasicBlock', 'Bottleneck'),
  'ddrnet_det': ('BasicBlock', 'Bottleneck'),
  'hrnet': ('BasicBlock', 'Bottleneck'),
  'efficientdet': ('InvertedResidual', 'Node', 'Separable'),
  'efficientnet': ('InvertedResidual',),
  'efficientnet_seg': ('InvertedResidual',),
  'faster_rcnn': ('Bottleneck',),
  'resnet': ('Bottleneck',),
}
SMALL = {
  'ddrnet23_slim': (64, 128),
  'hrnet_w18_small': (64, 64),
  'efficientdet_tiny': (64, 64),
  'ddrnet_det_tiny': (64, 128),
  'faster_rcnn_tiny': (64, 64),
  'efficientnet_lite0_seg': (64, 64),
}
FULL = [
  ('ddrnet23_slim', 'layers', 'onnx'),
  ('ddrnet23_slim', 'layers', 'stablehlo'),
  ('ddrnet23_slim', 'blocks', 'onnx'),
  ('ddrnet23', 'layers', 'onnx'),
  ('hrnet_w18_small', 'layers', 'onnx'),
]


def spec_of(name, students):
  if students == 'blocks':
    return make_spec(
      blocks=INSIDE[models.family(name)],
      block_candidates=(('residual', 4, 2),),
      candidates=(('bottleneck', 4),),
    )
  try:
    return make_spec(**published_spec(name))
  except ValueError:  # of a network that was not published with students
    return make_spec(candidates=(('low_rank', 4), ('strided',)))


def check(name, size, students, form):
  frames = frames_of((1, *size, 3))
  net = models.create(name, num_classes=11)
  delta, params = distilled(net, spec_of(name, students), frames[0])
  frozen = delta.freeze(params, frames[0])
  programs = export(frozen, frames[0].shape, form=form)
  compare(RUN[form](programs, frames), rollout(frozen, frames))


def compare(found, expected):
  for values, wanted in zip(found, jax.tree.leaves(expected), strict=True):
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(values, wanted, atol=1e-4 * scale, rtol=0)


@pytest.mark.parametrize('form', ['onnx', 'litert'])
@pytest.mark.parametrize('students', ['layers', 'blocks'])
@pytest.mark.parametrize('name', SMALL)
def test_an_engine_gives_the_same_clip(name, students, form):
  check(name, SMALL[name], students, form)


@pytest.mark.parametrize('students', ['layers', 'blocks'])
@pytest.mark.parametrize('name', ['ddrnet23_slim', 'efficientdet_tiny'])
def test_stablehlo_gives_the_same_clip(name, students):
  check(name, SMALL[name], students, 'stablehlo')


@pytest.mark.parametrize('form', ['onnx', 'stablehlo'])
@pytest.mark.parametrize('students', ['layers', 'blocks'])
@pytest.mark.parametrize('name', ['ddrnet_tiny', 'efficientdet_tiny'])
def test_programs_of_an_open_batch_take_frames_of_any(name, students, form):
  frames = frames_of((3, 64, 64, 3))
  net = models.create(name, num_classes=5)
  delta, params = distilled(net, spec_of(name, students), frames[0])
  frozen = delta.freeze(params, frames[0])
  (batch,) = jax.export.symbolic_shape('batch')
  programs = export(frozen, (batch, 64, 64, 3), form=form)
  for part in (frames, frames[:, :1]):
    compare(RUN[form](programs, part), rollout(frozen, part))


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'students', 'form'), FULL)
def test_programs_of_full_size_give_the_same_clip(name, students, form):
  check(name, (512, 1024), students, form)


@pytest.mark.parametrize('form', RUN)
@pytest.mark.parametrize('kind', ['ViT', 'ConvNeXt', 'UNet'])
def test_a_network_of_nnx_gives_the_same_clip(kind, form):
  net = getattr(nnx_networks, kind)(rngs=nnx.Rngs(0))
  check_nnx(net, (32, 48), form)


@pytest.mark.slow
@pytest.mark.parametrize('form', RUN)
def test_a_transformer_of_full_size_gives_the_same_clip(form):
  size = (224, 224)
  net = nnx_networks.ViT(384, 12, 16, size, rngs=nnx.Rngs(0))
  check_nnx(net, size, form)


def check_nnx(net, size, form):
  frames = frames_of((1, *size, 3))
  delta = distill(net, make_spec(candidates=(('low_rank', 2),)))
  variables = nnx.to_pure_dict(nnx.state(net))
  params = delta.init(jax.random.key(0), variables, frames[0])
  frozen = delta.freeze(params, frames[0])
  programs = export(frozen, frames[0].shape, form=form)
  compare(RUN[form](programs, frames), rollout(frozen, frames))
