"""Regions of frames, and their whitening."""

import functools

import dns_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import convert, models, retrieval

# The backbone without classes gives its four stages.
NET = models.create('resnet50', num_classes=1000).clone(num_classes=None)
SIZES = {'sq224': (3, 224, 224), 'w320': (2, 224, 320), 'h288': (1, 288, 224)}


@functools.cache
def published():
  """The backbone's variables and the whitening of the references."""
  state = dns_rule.weights('statedict_feature_extractor.json')
  backbone = {
    key.removeprefix('cnn.'): array
    for key, array in state.items()
    if key.startswith('cnn.')
  }
  scale, mean, std = (
    state[f'normalizer.{name}'] for name in ('scale', 'mean', 'std')
  )
  whitening = retrieval.Whitening(state['pca.mean'], state['pca.DVt'])
  variables = convert.from_state_dict('resnet50', backbone)
  return variables, whitening, lambda x: (x / scale - mean) / std


@functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0}
)
def extract(variables, frames):
  stages = NET.apply(variables, frames)
  return stages, retrieval.region_pool(stages)


@pytest.mark.parametrize('name', SIZES)
def test_features_are_as_published(name):
  golden = dns_rule.load('feature_extractor.npz')
  variables, whitening, normalised = published()
  frames = dns_rule.frames(name, *SIZES[name])
  assert frames.astype(np.int64).sum() == golden[f'{name}_frames_sum']
  np.testing.assert_array_equal(
    frames.ravel()[:8], golden[f'{name}_frames_first8']
  )
  stages, regions = extract(variables, normalised(frames).astype(np.float32))
  expected = golden[f'{name}_regions3840']
  np.testing.assert_allclose(
    regions[: len(expected), :, ::8], expected, atol=1e-5
  )
  whitened = retrieval.whiten(whitening, regions)
  np.testing.assert_allclose(
    whitened[..., ::4], golden[f'{name}_regions512'], atol=1e-4
  )
  if f'{name}_regions512_centered' in golden:
    mean = golden['centered_pca_mean']
    centred = retrieval.whiten(whitening._replace(mean=mean), regions)
    np.testing.assert_allclose(
      centred[..., ::4], golden[f'{name}_regions512_centered'], atol=1e-4
    )
  if name == 'sq224':
    for number, stage in enumerate(stages, start=1):
      x = np.asarray(stage).transpose(0, 3, 1, 2)
      mean, std, largest = golden[f'stat_layer{number}'] / x.max()
      found = x / x.max()
      np.testing.assert_allclose(found.mean(), mean, atol=1e-5)
      np.testing.assert_allclose(found.std(ddof=1), std, atol=1e-5)
      np.testing.assert_allclose(found.max(), largest, atol=1e-5)
      expected = golden[f'slice_layer{number}'] / x.max()
      np.testing.assert_allclose(found[0, :8, :3, :3], expected, atol=1e-5)


@pytest.mark.parametrize('size', dns_rule.load('region_grids.json'))
def test_the_grids_of_any_size_of_frames_are_as_published(size):
  grids = dns_rule.load('region_grids.json')[size]
  height, width = map(int, size.split('x'))
  frames = jnp.zeros((1, height, width, 3))
  shapes = jax.eval_shape(NET.init, jax.random.key(0), frames)
  stages = jax.eval_shape(NET.apply, shapes, frames)
  assert [list(x.shape[1:3]) for x in stages] == [grid for grid, _ in grids]
  rows, columns = grids[-1][1]
  regions = jax.eval_shape(retrieval.region_pool, stages)
  assert regions.shape == (1, rows * columns, 3840)


def test_whitening_by_components_is_as_published():
  golden = dns_rule.load('feature_extractor.npz')
  whitening = retrieval.whitening(
    *(golden[f'pca_{name}'] for name in ('mean', 'd', 'V')), 16
  )
  np.testing.assert_allclose(
    whitening.projection, golden['pca_DVt'], rtol=1e-5, atol=1e-6
  )
  found = retrieval.whiten(whitening, golden['pca_x'])
  np.testing.assert_allclose(found, golden['pca_y'], atol=2e-6)


def slow_regions(stages):
  """The definition, for one frame and stages of one grid."""
  parts = []
  for x, window in zip(stages, (28, 14, 6, 3)[-len(stages) :], strict=True):
    step = -(-window // 2)
    rows, columns = ((side - window) // step + 1 for side in x.shape[:2])
    part = np.array([
      x[i * step : i * step + window, j * step : j * step + window].max((0, 1))
      for i in range(rows)
      for j in range(columns)
    ])  # fmt: skip
    parts.append(part / np.linalg.norm(part, axis=1, keepdims=True))
  joined = np.concatenate(parts, 1)
  return joined / np.linalg.norm(joined, axis=1, keepdims=True)


def test_regions_are_maxima_of_overlapping_windows():
  draw = np.random.default_rng(0)
  stages = [draw.random((1, n, n, 5)).astype(np.float32) for n in (14, 7)]
  found = retrieval.region_pool(stages)
  assert found.shape == (1, 9, 10)
  np.testing.assert_allclose(
    found[0], slow_regions([x[0] for x in stages]), atol=1e-6
  )


def test_a_finer_stage_is_brought_to_the_grid_of_the_last():
  first = np.zeros((1, 16, 16, 2), np.float32)
  first[0, :, :, 0] = 1
  first[0, 14, 14, 1] = 9  # in the last of 4 x 4 cells, and of 3 x 3
  last = np.ones((1, 8, 8, 1), np.float32)
  found = np.asarray(retrieval.region_pool([first, last]))
  assert found.shape == (1, 9, 3)
  assert (found[0, :8, 1] == 0).all()
  # Normalised before and after: the cell's own response of 1 meets one of 9 in
  # another, of which its length has left 0.994.
  best = 9 / np.sqrt(82)
  expected = best / np.sqrt(1 + best**2) / np.sqrt(2)
  np.testing.assert_allclose(found[0, 8, 1], expected, rtol=1e-6)


def test_no_response_gives_a_zero_region():
  found = retrieval.region_pool([np.zeros((1, 7, 7, 4), np.float32)])
  np.testing.assert_array_equal(found, 0)


def test_a_fitted_whitening_decorrelates():
  draw = np.random.default_rng(0)
  mixed = draw.standard_normal((500, 8)) @ draw.standard_normal((8, 8)) + 3
  whitening = retrieval.fit_whitening(mixed, 5)
  assert {x.dtype for x in whitening} == {np.dtype(np.float32)}
  x = (mixed - whitening.mean[None]) @ whitening.projection
  # Sums over samples: as published, variances are not divided by their number.
  np.testing.assert_allclose(x.T @ x, np.eye(5), atol=1e-4)
  kept = np.linalg.eigvalsh(np.cov(mixed, rowvar=False))[:2:-1]
  spread = 1 / np.linalg.norm(whitening.projection, axis=0) ** 2 / 499
  np.testing.assert_allclose(spread, kept, rtol=1e-3)
  whitened = retrieval.whiten(whitening, mixed[:6].reshape(2, 3, 8))
  assert whitened.shape == (2, 3, 5)
  np.testing.assert_allclose(np.linalg.norm(whitened, axis=-1), 1, atol=1e-5)


def test_short_videos_are_doubled():
  for count, expected in ((1, 4), (2, 4), (3, 6), (4, 4), (5, 5)):
    video = np.arange(count)[:, None]
    longer = retrieval.pad_short(video)
    assert len(longer) == expected
    np.testing.assert_array_equal(longer[:, 0], np.arange(expected) % count)


def test_misuse_is_named():
  with pytest.raises(ValueError, match=r'\(1, 2, 7, 4\) is smaller than its'):
    retrieval.region_pool([jnp.ones((1, 2, 7, 4))])
  with pytest.raises(ValueError, match='5 stages; expected 1 to 4'):
    retrieval.region_pool([jnp.ones((1, 64, 64, 1))] * 5)
  with pytest.raises(ValueError, match='has no frames'):
    retrieval.pad_short(np.zeros((0, 9, 4)))
  with pytest.raises(ValueError, match='more than 8, the features to keep'):
    retrieval.fit_whitening(np.ones((8, 20)), 8)
  with pytest.raises(ValueError, match='to 30 features; expected 1 to 20'):
    retrieval.fit_whitening(np.ones((40, 20)), 30)
