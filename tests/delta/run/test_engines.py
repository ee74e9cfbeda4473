"""Engines for exported programs give what XLA gives."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from exported import distilled

from deltax import models
from deltax.delta import LowRank, Spec, make_spec
from deltax.delta.run.engines import ENGINES
from deltax.delta.run.streamer import Streamer
from deltax.errors import DeltaxError
from deltax.tasks.video.deployed import OfPixels
from deltax.tasks.video.viewer import teacher_of

# OpenVINO starts a process when it is imported, of which jax warns.
pytestmark = pytest.mark.filterwarnings('ignore:os.fork.*:RuntimeWarning')

FRAMES = np.random.default_rng(0).integers(0, 256, (7, 64, 128, 3), np.uint8)
SPECS = {
  'key': make_spec(
    candidates=(('low_rank', 4),),
    blocks=('Bottleneck',),
    block_candidates=(('residual', 4, 2),),
  ),
  # What is kept of the first of the two, nothing reads.
  'skipped': make_spec(
    candidates=(('low_rank', 4),),
    choices={'down4_0': ('skip',), 'down4_3': ('skip',)},
  ),
  'previous': Spec(candidates=(LowRank(2),), reference='previous'),
}


@pytest.fixture(scope='module')
def networks():
  """Deployed networks of uint8 frames, by the reference of their changes."""
  net, frame = (
    models.create('ddrnet_tiny', num_classes=5),
    jnp.zeros((1, 64, 128, 3)),
  )
  made = {}
  for name, spec in SPECS.items():
    delta, params = distilled(net, spec, frame)
    made[name] = OfPixels(delta.freeze(params, frame))
  return made


def streamed(network, frames, interval, engine):
  streamer = Streamer(network, interval=interval, engine=engine)
  return [np.asarray(streamer.push(frame)) for frame in frames]


@pytest.mark.parametrize('reference', SPECS)
@pytest.mark.parametrize('engine', ['onnx', 'openvino', 'litert'])
def test_an_engine_gives_the_same_stream(engine, reference, networks):
  pytest.importorskip(ENGINES[engine][0])
  found = streamed(networks[reference], FRAMES, 4, engine)
  expected = streamed(networks[reference], FRAMES, 4, 'xla')
  scale = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize('engine', ['onnx', 'openvino', 'litert'])
def test_an_engine_runs_the_teacher_on_every_frame(engine, networks):
  pytest.importorskip(ENGINES[engine][0])
  teacher = teacher_of(networks['key'])
  frames = FRAMES[:2, None]  # with an axis of streams
  found = streamed(teacher, frames, 1, engine)
  expected = streamed(teacher, frames, 1, 'xla')
  scale = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)


def test_an_engine_that_is_not_installed_is_told(networks, monkeypatch):
  monkeypatch.setitem(sys.modules, 'openvino', None)
  with pytest.raises(DeltaxError, match='needs the package openvino'):
    Streamer(networks['key'], engine='openvino')


def test_what_converts_for_an_engine_is_told_too(networks, monkeypatch):
  monkeypatch.setitem(sys.modules, 'litert_converter', None)
  with pytest.raises(DeltaxError, match=r'litert-converter.*\[litert\]'):
    Streamer(networks['key'], engine='litert')


def test_an_unknown_engine_is_told(networks):
  with pytest.raises(DeltaxError, match="no engine 'tvm'; known: xla, onnx"):
    Streamer(networks['key'], engine='tvm')
