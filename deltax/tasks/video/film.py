"""Frames of the evaluation as teacher and delta network see them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp

from deltax.delta import Streamer
from deltax.report.contents import Film
from deltax.tasks.video.evaluated import Seen
from deltax.types import Array, Batch

DISTANCES = (0, 1, 2, 5, 9)  # frames after a key frame that are shown


def shots(
  make_shot: Callable[..., Any],
  clips: Sequence[int],
  dataset: Sequence[Batch],
  interval: int,
  networks: tuple[Streamer, Streamer],
  prepare: Callable[[Array], Array],
) -> Film:
  """Some frames of some clips.

  Args:
    make_shot: see `deltax.tasks.video.evaluated.Kind`.
    clips: numbers of clips of the data.
    dataset: evaluation batches, all of the first one's size but the last.
    interval: of the key frames; what is beyond is not shown.
    networks: the teacher, for which every frame is a key frame, and the delta
      network, for which the first one is.
    prepare: from uint8 frames to what they take.
  """
  size, film = len(dataset[0]['mask']), []
  for clip in clips:
    batch, row = dataset[clip // size], clip % size
    shown = min(interval, DISTANCES[-1] + 1)
    frames = batch['frames'][row][:shown]
    for t, seen in enumerate(_seen(networks, frames, prepare)):
      if t not in DISTANCES:
        continue
      after = f'{t} after the key frame' if t else 'key frame'
      caption = f'clip {clip}, frame {t}: {after}'
      shot = make_shot(batch, row, t, caption, seen)
      if shot is not None:
        film.append(shot)
  return film


def _seen(
  networks: tuple[Streamer, Streamer],
  frames: Sequence[Array],
  prepare: Callable[[Array], Array],
) -> Iterator[Seen]:
  """Outputs of both networks on uint8 `[H, W, 3]` frames of a clip."""
  teacher, delta = networks
  delta.reset()
  first = None
  for frame in frames:
    prepared = prepare(jnp.asarray(frame[None]))
    exact = teacher.push(prepared)
    first = exact if first is None else first
    yield Seen(exact, delta.push(prepared), first)
