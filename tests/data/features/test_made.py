"""Made features: videos of unit regions, and copies that are near them."""

import numpy as np
import pytest

from deltax.data.features.made import make_features, open_or_make
from deltax.data.features.store import FeatureStore


def test_every_video_has_regions_of_length_one():
  made = make_features(frames=(5, 30), regions=4, size=7, seed=2)
  assert set(made.features) == set(made.source)
  assert len(made.features) == 4 * (1 + 2)
  for name, regions in made.features.items():
    assert regions.dtype == np.float32
    assert regions.shape[1:] == (4, 7)
    np.testing.assert_allclose(np.linalg.norm(regions, axis=-1), 1, atol=1e-5)
    if made.source[name] == name:
      assert 5 <= len(regions) <= 30


def test_equal_arguments_give_equal_arrays_and_another_seed_others():
  one, same, other = (make_features(seed=seed) for seed in (1, 1, 2))
  assert one.source == same.source
  for name, regions in one.features.items():
    np.testing.assert_array_equal(regions, same.features[name])
  first = [made.features['source-0'].ravel()[:9] for made in (one, other)]
  assert not np.allclose(*first)


@pytest.mark.parametrize('noise', [0.0, 0.5])
def test_frames_of_a_copy_are_those_of_its_source_with_noise(noise):
  made = make_features(noise=noise)
  for name, source in made.source.items():
    if name == source:
      continue
    copy, own = made.features[name], made.features[source]
    # Cosine of every frame with every frame of the source, regions aligned.
    near = np.einsum('trd,srd->ts', copy, own) / copy.shape[1]
    if not noise:
      np.testing.assert_allclose(near.max(1), 1, atol=1e-5)
      times = near.argmax(1)
      assert (np.diff(times) >= 0).all()
    assert near.max(1).min() > 0.7
    foreign = next(n for n in made.source.values() if n != source)
    far = np.einsum('trd,srd->ts', copy, made.features[foreign])
    assert near.max(1).mean() > (far / copy.shape[1]).max(1).mean()


def test_made_pairs_are_the_copies_of_one_source_and_all_others():
  features, similarities = open_or_make('')
  source = make_features().source
  assert set(similarities.pairs) == set(features) == set(source)
  for anchor, (alike, others) in similarities.pairs.items():
    assert {anchor, *alike, *others} == set(features)
    assert len(alike) + len(others) == len(features) - 1
    assert all(source[name] == source[anchor] for name in alike)
    assert all(source[name] != source[anchor] for name in others)
    assert set(alike.values()) == {0.9}
    assert set(others.values()) == {-0.6}


def test_a_path_is_opened_and_nothing_is_made(tmp_path):
  regions = make_features().features['source-0']
  with FeatureStore(tmp_path / 'store', fingerprint='none') as store:
    store.add('own', regions)
  features, similarities = open_or_make(tmp_path / 'store')
  assert similarities is None
  assert tuple(features.names) == ('own',)
  np.testing.assert_array_equal(features['own'], regions)
  with pytest.raises(FileNotFoundError):
    open_or_make(tmp_path / 'nowhere')
