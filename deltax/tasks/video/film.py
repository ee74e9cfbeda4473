"""Frames of the evaluation as teacher and delta network see them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp

from deltax.delta import Streamer
from deltax.models.inputs import normalise
from deltax.report.contents import Film
from deltax.types import Array, Batch

DISTANCES = (0, 1, 2, 5, 9)  # frames after a key frame that are shown


def shots(
  make_shot: Callable[..., Any],
  clips: Sequence[int],
  dataset: Sequence[Batch],
  interval: int,
  networks: tuple[Streamer, Streamer],
) -> Film:
  """Some frames of some clips.

  Args:
    make_shot: see `deltax.tasks.video.evaluated.Kind`.
    clips: numbers of clips of the data.
    dataset: evaluation batches, all of the first one's size but the last.
    interval: of the key frames; what is beyond is not shown.
    networks: the teacher, for which every frame is a key frame, and the delta
      network, for which the first one is.
  """
  size, film = len(dataset[0]['mask']), []
  for clip in clips:
    batch, row = dataset[clip // size], clip % size
    frames = batch['frames'][row][:interval]
    for t, outs in enumerate(_outputs(networks, frames)):
      if t not in DISTANCES:
        continue
      after = f'{t} after the key frame' if t else 'key frame'
      caption = f'clip {clip}, frame {t}: {after}'
      shot = make_shot(batch, row, t, caption, *outs)
      if shot is not None:
        film.append(shot)
  return film


def _outputs(
  networks: tuple[Streamer, Streamer], frames: Sequence[Array]
) -> Iterator[tuple[Any, Any]]:
  """Outputs of both networks on uint8 `[H, W, 3]` frames of a clip."""
  teacher, delta = networks
  delta.reset()
  for frame in frames:
    normalised = normalise(jnp.asarray(frame[None]))
    yield teacher.push(normalised), delta.push(normalised)
