"""What a run says: metrics on disk, and progress on the terminal."""

import datetime
import json
import math
import pathlib
import sys
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import tqdm
from absl import logging

from deltax import files, plain
from deltax.progress import wants_bar

METRICS_FILE = 'metrics.jsonl'
_TENSORFLOW_WRITER = 'clu.metric_writers.tf.summary_writer'


class Writer:
  """Scalars as JSON lines and for TensorBoard; a bar, or else log lines.

  Only process 0 writes; elsewhere every method does nothing.

  Args:
    workdir: gets `metrics.jsonl` and TensorBoard's event files. Lines of later
      steps than `start` are dropped from the former: they are from a run that
      was killed, and will be written again.
    start: steps already done.
    steps: steps of the whole run.
    progress: as `wants_bar`.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    start: int,
    steps: int,
    progress: bool | None = None,
  ):
    self._steps = steps
    self._last = (start, time.perf_counter())
    self._active = jax.process_index() == 0
    if not self._active:
      return
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self._path = workdir / METRICS_FILE
    _drop_after(self._path, start)
    # Without a buffer, from which a line would be tried again and again.
    self._lines = self._path.open('ab', buffering=0)
    self._tensorboard = _tensorboard(workdir, start)
    self._bar = tqdm.tqdm(
      total=steps,
      initial=start,
      unit='step',
      dynamic_ncols=True,
      disable=not wants_bar(progress),
    )

  def advance(self) -> None:
    """Moves the bar by one step."""
    if self._active:
      self._bar.update()

  def train(self, step: int, metrics: Mapping[str, float]) -> None:
    """Writes training metrics and 'steps_per_second' since the last call.

    Args:
      step: steps done.
      metrics: holds 'loss', which the bar shows too.
    """
    if not self._active:
      return
    (last, then), now = self._last, time.perf_counter()
    self._last = step, now
    rate = (step - last) / max(now - then, 1e-9)
    metrics = {'loss': metrics['loss'], **metrics}
    self.write(step, 'train', {**metrics, 'steps_per_second': rate})
    self._bar.set_postfix_str(f'loss {metrics["loss"]:.4g}')
    if self._bar.disable:
      left = datetime.timedelta(seconds=round((self._steps - step) / rate))
      logging.info(
        'step %d of %d: %s; %.3g steps/s, %s left',
        step,
        self._steps,
        _listed(metrics),
        rate,
        left,
      )

  def evaluation(self, step: int, scores: Mapping[str, float]) -> None:
    """Writes the scores of an evaluation, and says them."""
    if not self._active:
      return
    self.write(step, 'evaluation', scores)
    self.say(f'step {step}: {_listed(scores)}')
    self._last = step, time.perf_counter()

  def write(self, step: int, split: str, scalars: Mapping[str, Any]) -> None:
    """Appends one line; a number that is not finite becomes null.

    Raises:
      OSError: it cannot be written, as when the disk is full.
    """
    if not self._active:
      return
    scalars = {name: float(value) for name, value in scalars.items()}
    line = {'step': step, 'split': split} | {
      name: value if math.isfinite(value) else None
      for name, value in scalars.items()
    }
    with files.naming(self._path):
      rest = memoryview(f'{json.dumps(line)}\n'.encode())
      while rest:
        rest = rest[self._lines.write(rest) :]
    self._tensorboard.write_scalars(
      step, {f'{split}/{name}': value for name, value in scalars.items()}
    )

  def say(self, sentence: str) -> None:
    """One line for the person who watches."""
    if not self._active:
      return
    if self._bar.disable:
      logging.info('%s', sentence)
    else:
      self._bar.write(sentence, file=sys.stderr)

  def close(self) -> None:
    if self._active:
      self._bar.close()
      self._lines.close()
      self._tensorboard.close()

  def __enter__(self) -> 'Writer':
    return self

  def __exit__(self, *error: object) -> None:
    self.close()


def read_metrics(workdir: str | pathlib.Path) -> list[dict[str, Any]]:
  """The lines of a run's `metrics.jsonl`, without a last one that was cut.

  Returns:
    One dict per line: 'step' (steps done), 'split' ('train' or 'evaluation')
    and scalars by name; None stands for a number that was not finite.

  Raises:
    ValueError: a broken line that is not the last one; names its number.
  """
  path = pathlib.Path(workdir) / METRICS_FILE
  lines = path.read_text(encoding='utf-8').split('\n')[:-1]
  rows = []
  for number, line in enumerate(lines, 1):
    try:
      row = plain.check(plain.loads(line), {'step': plain.COUNT}, 'the line')
      rows.append(row)
    except ValueError as error:
      raise ValueError(
        f'{path}, line {number}: expected a JSON object, got {line[:80]!r}'
      ) from error
  return rows


def _drop_after(path: pathlib.Path, step: int) -> None:
  if not path.exists():
    return
  kept = [row for row in read_metrics(path.parent) if row['step'] <= step]
  files.write_text(path, ''.join(json.dumps(row) + '\n' for row in kept))


def _listed(scalars: Mapping[str, float]) -> str:
  return ', '.join(f'{name} {value:.4g}' for name, value in scalars.items())


class _TensorBoard:
  """clu's summary writer, on tensorboardX: clu's own needs TensorFlow.

  tensorboardX' own writer has a thread, which a full disk ends, and a queue to
  it, which then waits for ever. This one stops: metrics.jsonl has all it has.
  """

  def __init__(self, logdir: str, purge_step: int | None = None):
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2

    self._event = event_pb2.Event
    self._events = EventsWriter(f'{logdir}/events')
    if purge_step is not None:
      begun = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._write(step=purge_step, session_log=begun)

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    from tensorboardX import summary

    for name, value in scalars.items():
      self._write(step=step, summary=summary.scalar(name, value))
    self.flush()

  def _write(self, **content: Any) -> None:
    event = self._event(wall_time=time.time(), **content)
    self._try(lambda events: events.write_event(event))

  def flush(self) -> None:
    self._try(lambda events: events.flush())

  def close(self) -> None:
    self._try(lambda events: events.close())

  def _try(self, do: Callable[[Any], Any]) -> None:
    try:
      if self._events is not None:
        do(self._events)
    except OSError as error:
      logging.warning('no more events for TensorBoard: %s', error)
      self._events = None


def _tensorboard(workdir: pathlib.Path, start: int):
  """A clu metric writer into `workdir`, for the steps after `start`."""
  stand_in = types.ModuleType(_TENSORFLOW_WRITER)
  stand_in.SummaryWriter = _TensorBoard
  sys.modules.setdefault(_TENSORFLOW_WRITER, stand_in)
  from clu import metric_writers

  writer = _TensorBoard(str(workdir), purge_step=start + 1 if start else None)
  return metric_writers.AsyncWriter(writer)
