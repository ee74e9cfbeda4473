"""How often ten seconds of a long film are among its first 100 candidates.

    python benchmarks/partial.py --copies runs/default_system/copies \\
      --features runs/default_system/features

Films are made of features: shots of the training sources, drawn at random, and
in some films, once, a source to test with. Its edited copies are searched for
by the coarse student alone, with one vector a film and with those of its clips.
"""

import argparse
import pathlib

import numpy as np

from deltax import plain, systems
from deltax.data.features.store import open_features
from deltax.retrieval.system import encode_clips, encode_coarse

CANDIDATES = (10, 100)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--copies', required=True, type=pathlib.Path)
  parser.add_argument('--features', required=True, type=pathlib.Path)
  parser.add_argument('--system', default='binary', help='that made FEATURES')
  parser.add_argument('--films', type=int, default=300)
  parser.add_argument('--minutes', type=int, default=30)
  options = parser.parse_args()
  coarse = systems.open_system(options.system).coarse
  about = plain.read_json(options.copies / 'annotations.json')['videos']
  listed = plain.read_json(options.copies / 'test.json')['relevant']
  with open_features(options.features) as features:
    shots = [n for n, video in about.items() if video['split'] == 'train']
    hidden = sorted(listed)[: options.films]
    rng, whole, clips = np.random.default_rng(0), [], []
    for film in range(options.films):
      shown = compose(features, shots, 60 * options.minutes, rng)
      if film < len(hidden):
        place = int(rng.integers(len(shown)))
        own = features[hidden[film]]
        shown = np.concatenate([shown[:place], own, shown[place:]])
      whole.append(encode_coarse(coarse, shown)[None])
      clips.append(encode_clips(coarse, shown))
    ranks = {'one vector a film': [], 'and one a clip': []}
    for film, name in enumerate(hidden):
      for copy in listed[name]:
        query = features[copy]
        asked = [
          encode_coarse(coarse, query)[None],
          encode_clips(coarse, query),
        ]
        alone = [(x @ asked[0].T).max() for x in whole]
        every = np.concatenate(asked).T
        both = [
          (np.concatenate(x) @ every).max()
          for x in zip(whole, clips, strict=True)
        ]
        for scores, found in zip((alone, both), ranks.values(), strict=True):
          found.append((np.array(scores) > scores[film]).sum())
  print(f'{len(hidden)} of {options.films} films, {options.minutes} minutes')
  for name, found in ranks.items():
    recall = [100 * np.mean(np.array(found) < k) for k in CANDIDATES]
    told = ', '.join(
      f'{share:.1f}% at {k}'
      for share, k in zip(recall, CANDIDATES, strict=True)
    )
    print(f'{name}: {told}, of {len(found)} queries')


def compose(features, names: list[str], seconds: int, rng) -> np.ndarray:
  """Features `[T, R, D]` of shots one after the other."""
  shots, length = [], 0
  while length < seconds:
    shots.append(features[names[rng.integers(len(names))]])
    length += len(shots[-1])
  return np.concatenate(shots)[:seconds]


if __name__ == '__main__':
  main()
