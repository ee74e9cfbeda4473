"""The one training loop: any task, killed and continued without a trace."""

import contextlib
import functools
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
import optax
from absl import logging
from jax.experimental import multihost_utils

from deltax.errors import TERMINATED
from deltax.progress import wants_bar
from deltax.task import Task
from deltax.training.checkpoints import Checkpoints, restore
from deltax.training.evaluate import evaluate
from deltax.training.parallel import (
  axis_name,
  check_alike,
  from_first_process,
  gathered,
  whole_batch,
  wrapper,
)
from deltax.training.state import TrainState, create_state, not_finite
from deltax.training.step import train_step
from deltax.training.workdir import held
from deltax.training.writers import Writer
from deltax.types import Array, Batch

STOPPED = 'SIGTERM: stopped after step %d, saved as %s'


def train(
  task: Task,
  dataset: Sequence[Batch],
  *,
  workdir: str | pathlib.Path,
  steps: int,
  optimizer: optax.GradientTransformation,
  seed: int = 0,
  parallel: str = 'pmap',
  devices: Sequence[jax.Device] | None = None,
  shard: str = '',
  accumulate: int = 1,
  evaluation_dataset: Sequence[Batch] | None = None,
  evaluate_every: int = 1000,
  log_every: int = 50,
  checkpoint_every: int = 1000,
  best: str | None = None,
  keep: int = 1,
  start_from: str | pathlib.Path | None = None,
  metadata: Mapping[str, Any] | None = None,
  begun: Callable[[], None] = lambda: None,
  progress: bool | None = None,
) -> TrainState:
  """Trains a task, or continues the run that `workdir` holds.

  A run may be killed at any moment. The same call continues it from its latest
  checkpoint: step `s` trains on `dataset[s]` with a key made from `seed` and
  `s`, so that on one device the parameters end the same bit for bit. On SIGTERM
  the step in progress ends and a checkpoint is written; of several processes,
  it is enough that one gets it, and all stop after the same step.

  Args:
    task: what to train; its batch norm was given `axis_name(parallel)`.
    dataset: `dataset[i]` is a pure function of `i`.
    workdir: the run's folder, for checkpoints and metrics.
    steps: length of the whole run; 0 only saves what it starts from.
    optimizer: any optax transform; see `make_optimizer`.
    seed: of the parameters and of all noise.
    parallel: 'pmap' or 'jit'.
    devices: those of all processes by default; they must divide the batch.
    shard: what of the state each device keeps only a share of: '' for nothing,
      'optimizer', or 'parameters' for both; needs 'jit'.
    accumulate: parts that each device takes its examples in; see `train_step`.
    evaluation_dataset: finite; its scores are written, and stored with a
      checkpoint, every `evaluate_every` steps and after the last.
    evaluate_every: steps between evaluations.
    log_every: steps between lines of metrics (means over the steps between).
    checkpoint_every: steps between checkpoints; the last step has one too.
    best: the score by which to keep the best checkpoints, larger is better.
    keep: how many of them; the latest checkpoint is always kept.
    start_from: a checkpoint whose `params` and `model_state` a new run takes
      over; of no effect on one that continues.
    metadata: stored in every checkpoint, as JSON: the configuration, the task's
      name.
    begun: called when the folder is this run's, and its state is there; of
      several processes, by the first.
    progress: draw a bar, or write log lines; None: see `wants_bar`.

  Returns:
    The last state.

  Raises:
    ValueError: fewer batches than steps; devices that do not divide a batch.
    FloatingPointError: a loss or the state is not finite; names the step and
      the last good checkpoint, which stays. No state that is not finite is ever
      written.
    CheckpointError: see `restore` and `Checkpoints.save`.
    WorkdirError: another run holds the folder, or it cannot be written.
    SystemExit: after SIGTERM, with code 143.
  """
  _check_length(dataset, steps)
  with held(workdir), contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(
      Checkpoints(workdir, best=best, keep=keep, metadata=metadata)
    )
    state = create_state(task, optimizer, whole_batch(dataset[0]), seed)
    state = from_first_process(_begin(state, checkpoints, start_from, begun))
    start = int(state.step)
    if start >= steps:
      return _finished(state, checkpoints, workdir)

    # Imported here: `deltax.data` brings readers that only data sets need.
    from deltax import data

    step = _make_step(task, optimizer, parallel, devices, shard, accumulate)
    must_stop = stack.enter_context(_on_sigterm(checkpoints))
    writer = stack.enter_context(
      Writer(workdir, start=start, steps=steps, progress=progress)
    )
    batches = stack.enter_context(
      contextlib.closing(data.prefetch(dataset, start, steps))
    )
    window = []
    for done, batch in enumerate(batches, start + 1):
      state, metrics = step(state, batch)
      window.append(metrics)
      # At most one step runs ahead: batches in flight stay few, and the device
      # still never waits for the host.
      jax.block_until_ready(window[-2:][0])
      writer.advance()

      stop = must_stop(done)
      evaluating = evaluation_dataset is not None and (
        done % evaluate_every == 0 or done == steps
      )
      saving = evaluating or (
        stop or done % checkpoint_every == 0 or done == steps
      )
      local = state
      if saving or done % log_every == 0:
        writer.train(done, _means(window, done, checkpoints))
        window.clear()
        local = gathered(state)
        _write_watched(writer, done, task, local)
      scores = None
      if evaluating:
        scores, _ = evaluate(
          *(task, local.params, local.model_state, evaluation_dataset),
          devices=devices,
          progress=wants_bar(progress),
        )
        writer.evaluation(done, scores)
      if saving:
        _check_state(local, done, checkpoints)
        check_alike(local)
        checkpoints.save(local, scores)
      if stop and done < steps:
        _stop(done, checkpoints)
    return gathered(state)


def _finished(
  state: TrainState, checkpoints: Checkpoints, workdir: str | pathlib.Path
) -> TrainState:
  """The state; of a run of no steps, which has nothing else, it is saved."""
  if not jax.process_index() and checkpoints.latest() is None:
    with Writer(workdir, start=0, steps=0, progress=False):
      checkpoints.save(state)
  logging.info('%s is finished: %d steps are done', workdir, int(state.step))
  return state


def _check_length(dataset: Sequence[Batch], steps: int) -> None:
  if len(dataset) < steps:
    raise ValueError(
      f'the training data ends after {len(dataset)} batches; expected at least '
      f'one for each of {steps} steps'
    )


def _make_step(task, optimizer, parallel, devices, shard, accumulate):
  """`(state, batch) -> (state, metrics)`, compiled for the devices."""
  step = functools.partial(
    train_step,
    task=task,
    optimizer=optimizer,
    axis_name=axis_name(parallel),
    accumulate=accumulate,
  )
  return wrapper(parallel)(step, devices, shard)


def _write_watched(
  writer: Writer, done: int, task: Task, state: TrainState
) -> None:
  """What else a task finds worth a line, such as the state of its gates."""
  if task.watch is not None:
    watched = task.watch(state.params, state.model_state)
    writer.write(done, 'watch', jax.device_get(watched))


def _begin(
  state: TrainState,
  checkpoints: Checkpoints,
  start_from: str | pathlib.Path | None,
  begun: Callable[[], None],
) -> TrainState:
  if jax.process_index():
    return state  # the first process reads, and sends the others what it has
  latest = checkpoints.latest()
  if latest is not None:
    logging.info('continuing from %s', latest)
    state = restore(latest, state)
  elif start_from is not None:
    logging.info('starting from the parameters of %s', start_from)
    part = {'params': state.params, 'model_state': state.model_state}
    state = state._replace(**restore(start_from, part))
  begun()
  return state


def _means(
  window: Sequence[Mapping[str, Array]], done: int, checkpoints: Checkpoints
) -> dict[str, float]:
  """Means over the last steps, all of whose losses are finite."""
  window = jax.device_get(window)
  for step, metrics in enumerate(window, done - len(window) + 1):
    if not np.isfinite(metrics['loss']):
      values = ', '.join(f'{name} {x:.6g}' for name, x in metrics.items())
      raise FloatingPointError(
        f'step {step} (batch {step - 1} of the data): the loss is not finite: '
        f'{values}; {_last_good(checkpoints)}'
      )
  return {
    name: float(np.mean([metrics[name] for metrics in window]))
    for name in window[0]
  }


def _check_state(
  state: TrainState, done: int, checkpoints: Checkpoints
) -> None:
  names = not_finite(state)
  if names:
    raise FloatingPointError(
      f'step {done} (batch {done - 1} of the data): the losses are finite, but '
      f'{len(names)} arrays of the state are not any more, first {names[0]}; '
      f'{_last_good(checkpoints)}'
    )


def _stop(done: int, checkpoints: Checkpoints) -> NoReturn:
  saved = checkpoints.latest() or 'process 0 tells'
  logging.warning(STOPPED, done, saved)
  raise SystemExit(TERMINATED)


def _last_good(checkpoints: Checkpoints) -> str:
  if jax.process_index():
    return 'process 0 knows the last good checkpoint'
  latest = checkpoints.latest()
  if latest is None:
    return 'there is no checkpoint yet'
  return f'the last good checkpoint is {latest}'


@contextlib.contextmanager
def _on_sigterm(checkpoints: Checkpoints) -> Iterator[Callable[[int], bool]]:
  """Whether to stop after a step, as SIGTERM came; the same in all processes.

  Args:
    checkpoints: a pending save is waited for before SIGTERM ends the process
      again.

  Yields:
    `(steps done) -> stop`, to be asked after every step.
  """
  if jax.process_count() > 1:
    # JAX itself takes the signal, and agrees on a step with the others.
    yield multihost_utils.reached_preemption_sync_point
    return
  stopping = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield lambda _: False  # only the main thread may take signals
    return
  before = signal.signal(signal.SIGTERM, lambda *_: stopping.set())
  with contextlib.ExitStack() as stack:
    stack.callback(signal.signal, signal.SIGTERM, before)
    stack.callback(checkpoints.latest)
    yield lambda _: stopping.is_set()
