"""Checkpoints of a run: written whole or not at all, checked when read.

A run's folder holds `checkpoints/<step>/`. Each is an ordinary orbax checkpoint
of two items: `state`, a flat dict from a leaf's name to its array, and
`metadata`, a JSON object with the step, the scores, what the caller adds, and
the shape, dtype and checksum of every leaf.
"""

import contextlib
import errno
import json
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

import deltax
from deltax.errors import DeltaxError
from deltax.training import quiet
from deltax.training.leaves import (
  checksum,
  from_host,
  named,
  signature,
  to_host,
  unflatten,
  wrong_metadata,
)
from deltax.training.state import TrainState
from deltax.training.workdir import LOCK, not_saved
from deltax.types import ModelState, Params

FOLDER = 'checkpoints'
_DELETED = '.deleted'  # checkpoints on their way out, in one rename each
_UNFINISHED = '.orbax-checkpoint-tmp'  # how orbax ends the names of others
_LONGEST = 1.0  # second that it may take to delete one of these

quiet.hide_what_orbax_logs()


class CheckpointError(DeltaxError):
  """A checkpoint that is absent, broken, or of another tree."""


class Checkpoints:
  """The checkpoints of one run: asynchronous saves, the latest and the best.

  Of several processes, the first alone writes and reads them.

  Args:
    workdir: the run's folder.
    best: the score to keep checkpoints by, larger is better; None for none.
    keep: how many to keep: the best ones, and the latest besides; without
      `best` the latest ones.
    metadata: stored in every checkpoint, as JSON.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    best: str | None = None,
    keep: int = 1,
    metadata: Mapping[str, Any] | None = None,
  ):
    self.folder = pathlib.Path(workdir).absolute() / FOLDER
    self._best = best
    self._metadata = json.loads(json.dumps(dict(metadata or {})))
    # One policy for both: `max_to_keep` with `best_fn` would drop the latest.
    policies = [preservation_policy.LatestN(1 if best else keep)]
    if best:
      policies.append(
        preservation_policy.BestN(
          get_metric_fn=lambda scores: _rank(scores, best),
          n=keep,
          keep_checkpoints_without_metrics=False,
        )
      )
    self._unwritten = None
    self._manager = None
    if jax.process_index() == 0:
      self.folder.mkdir(parents=True, exist_ok=True)
      lock = self.folder.parent / LOCK
      self._sign = lock if lock.exists() else self.folder
      self._drop_deleted()
      self._drop_unfinished()
      self._manager = ocp.CheckpointManager(
        self.folder,
        options=ocp.CheckpointManagerOptions(
          preservation_policy=preservation_policy.AnyPreservationPolicy(
            policies
          ),
          create=False,
          # A kill while files are deleted one by one would leave half of them.
          todelete_subdir=_DELETED,
          multiprocessing_options=_alone(),
        ),
      )

  def save(
    self, state: TrainState, scores: Mapping[str, float] | None = None
  ) -> None:
    """Copies the state to the host and writes it in the background.

    Args:
      state: may be donated as soon as this returns.
      scores: of an evaluation of this state, if there was one.

    Raises:
      KeyError: scores without the one to keep the best by.
      CheckpointError: this or the save before cannot be written.
    """
    if scores is not None and self._best and self._best not in scores:
      raise KeyError(
        f'best={self._best!r} is not a score of the task; scores: '
        f'{sorted(scores)}'
      )
    if self._manager is None:
      return
    leaves = {name: to_host(leaf) for name, leaf in named(state).items()}
    metadata = self._metadata | {
      'step': int(state.step),
      'scores': dict(scores or {}),
      'best': self._best,
      'deltax': deltax.__version__,
      'leaves': {
        name: [list(x.shape), str(x.dtype), checksum(x)]
        for name, x in leaves.items()
      },
    }
    with self._told():
      self._manager.wait_until_finished()
      self._drop_deleted()
      self._manager.save(
        int(state.step),
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(leaves),
          metadata=ocp.args.JsonSave(metadata),
        ),
        metrics=dict(scores) if scores is not None else None,
      )

  def latest(self) -> pathlib.Path | None:
    """The newest complete checkpoint, once pending saves are written.

    None if there is none, and in other processes than the first.

    Raises:
      CheckpointError: the pending save cannot be written.
    """
    if self._manager is None:
      return None
    with self._told():
      self._manager.wait_until_finished()
    step = self._manager.latest_step()
    return None if step is None else self.folder / str(step)

  def close(self) -> None:
    """Waits for pending saves; raises as `latest`."""
    if self._manager is None:
      return
    with self._told():
      self._manager.close()
    self._drop_deleted()

  @contextlib.contextmanager
  def _told(self) -> Iterator[None]:
    """What is wrong with writing in a sentence; it is said again when asked."""
    if self._unwritten:
      raise CheckpointError(self._unwritten)
    try:
      # orbax would make a folder that is gone, and go on without the rest.
      if not self._sign.exists():
        raise FileNotFoundError(errno.ENOENT, 'the folder is gone')
      with quiet.without_aftermath():
        yield
    except (OSError, ValueError) as error:  # the latter of tensorstore
      self._unwritten = not_saved(self.folder, error)
      raise CheckpointError(self._unwritten) from error

  def _drop_deleted(self) -> None:
    shutil.rmtree(self.folder / _DELETED, ignore_errors=True)

  def _drop_unfinished(self) -> None:
    """What a save that failed or was killed has left.

    In the same process it may still write: orbax, which would do this in the
    background, takes files that come meanwhile for a failure.
    """
    for folder in self.folder.glob(f'*{_UNFINISHED}'):
      end = time.monotonic() + _LONGEST
      while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error: object) -> None:
    self.close()


def find_checkpoint(path: str | pathlib.Path) -> pathlib.Path:
  """One checkpoint's folder.

  Args:
    path: that folder, or the folder of a run: then its best checkpoint, by the
      score that the run kept the best by, or else its latest.

  Raises:
    CheckpointError: there is none.
  """
  path = pathlib.Path(path).absolute()
  steps = _steps(path)
  if path in steps:
    return path
  if not steps:
    raise CheckpointError(
      f'no checkpoint in {path}: expected a run with {FOLDER}/<step>, or one '
      'such <step> folder'
    )

  def rank(folder: pathlib.Path) -> tuple[float, int]:
    metadata = read_metadata(folder)
    return _rank(metadata['scores'], metadata['best']), int(folder.name)

  return max(steps, key=rank)


def has_checkpoint(path: str | pathlib.Path) -> bool:
  """Whether a folder is a checkpoint, or that of a run that has one."""
  return bool(_steps(pathlib.Path(path).absolute()))


def _steps(path: pathlib.Path) -> list[pathlib.Path]:
  """The checkpoints of a run, and a folder itself where it is one."""
  folders = (path, *path.glob('*'), *path.glob(f'{FOLDER}/*'))
  return [x for x in folders if x.name.isdigit() and x.is_dir()]


def read_metadata(path: str | pathlib.Path) -> dict[str, Any]:
  """What was stored beside a checkpoint's arrays; `path` as `find_checkpoint`.

  Returns:
    'step', 'scores' (empty without an evaluation), 'best' (the score that the
    run keeps the best by, or None), 'deltax' (version), 'leaves' (name ->
    shape, dtype, checksum), and what the run's caller added.

  Raises:
    CheckpointError: it is absent or broken.
  """
  path = find_checkpoint(path)
  metadata = _read(path, 'metadata', ocp.args.JsonRestore())
  if wrong := wrong_metadata(metadata, path):
    raise CheckpointError(wrong)
  return metadata


def restore(path: str | pathlib.Path, target: Any) -> Any:
  """A stored state, or a part of it, in the form of `target`.

  Args:
    path: as `find_checkpoint`.
    target: a TrainState, or a dict of some of its fields. It gives the
      structure; its values do not matter.

  Raises:
    CheckpointError: the checkpoint is absent, broken, or of another tree; it
      names the leaves that are missing, left over or of another shape.
  """
  path = find_checkpoint(path)
  stored = read_metadata(path)['leaves']
  wanted = named(target)
  fields = target._fields if isinstance(target, TrainState) else set(target)
  _check_same_tree(
    path,
    {n: x[:2] for n, x in stored.items() if n.partition('/')[0] in fields},
    {n: signature(x) for n, x in wanted.items()},
  )
  leaves = _read_leaves(path, {name: stored[name] for name in wanted})
  return jax.tree.unflatten(
    jax.tree.structure(target),
    [from_host(leaves[name], like) for name, like in wanted.items()],
  )


def restore_params(path: str | pathlib.Path) -> tuple[Params, ModelState]:
  """Parameters and model state of a checkpoint, whatever trained them.

  Needs no target: mappings come back as dicts, sequences as tuples, and
  containers without arrays not at all.

  Args:
    path: as `find_checkpoint`.

  Returns:
    `(params, model_state)` of jax arrays.

  Raises:
    CheckpointError: the checkpoint is absent or broken.
  """
  path = find_checkpoint(path)
  stored = read_metadata(path)['leaves']
  fields = ('params', 'model_state')
  chosen = {n: x for n, x in stored.items() if n.partition('/')[0] in fields}
  tree = unflatten(
    {
      tuple(name.split('/')): jnp.array(x)
      for name, x in _read_leaves(path, chosen).items()
    }
  )
  return tuple(tree.get(field, {}) for field in fields)


def _rank(scores: Mapping[str, float], best: str | None) -> float:
  score = scores.get(best) if best else None
  return -np.inf if score is None or np.isnan(score) else score


def _alone() -> ocp.options.MultiprocessingOptions:
  """For orbax: this process waits for no other."""
  process = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=process,
    active_processes={process},
    barrier_sync_key_prefix=f'process_{process}',
  )


def _read_leaves(
  path: pathlib.Path, stored: Mapping[str, list]
) -> dict[str, np.ndarray]:
  try:
    empty = {n: np.empty(s, jnp.dtype(d)) for n, (s, d, _) in stored.items()}
  except MemoryError as error:
    raise CheckpointError(
      f'corrupt checkpoint {path}: its metadata lists arrays that do not fit '
      f'into memory ({error})'
    ) from error
  leaves = _read(
    path, 'state', ocp.args.PyTreeRestore(empty, partial_restore=True)
  )
  for name, (_, _, expected) in stored.items():
    if checksum(leaves[name]) != expected:
      raise CheckpointError(
        f'corrupt checkpoint {path}: the values of {name} are not those that '
        'were written'
      )
  return leaves


def _read(path: pathlib.Path, item: str, args: Any) -> Any:
  if not (path / item).is_dir():
    raise CheckpointError(
      f'corrupt checkpoint {path}: expected a folder {item!r} in it'
    )
  handler = ocp.CompositeCheckpointHandler()
  checkpointer = ocp.Checkpointer(handler, multiprocessing_options=_alone())
  with checkpointer:
    try:
      with quiet.without_aftermath():
        return checkpointer.restore(
          path, args=ocp.args.Composite(**{item: args})
        )[item]
    except Exception as error:
      reason = str(error).strip().splitlines()[0] if str(error) else error
      raise CheckpointError(
        f'corrupt checkpoint {path}: its {item!r} does not read as it was '
        f'written ({type(error).__name__}: {reason})'
      ) from error


def _check_same_tree(
  path: pathlib.Path, stored: Mapping[str, list], wanted: Mapping[str, list]
) -> None:
  complaints = {
    'missing': [name for name in wanted if name not in stored],
    'left over': [name for name in stored if name not in wanted],
    'different': [
      f'{name} (stored {stored[name]}, expected {signature})'
      for name, signature in wanted.items()
      if name in stored and stored[name] != signature
    ],
  }
  told = [
    f'{len(names)} {kind}: {", ".join(names[:8])}{", ..." * (len(names) > 8)}'
    for kind, names in complaints.items()
    if names
  ]
  if told:
    raise CheckpointError(
      f'foreign checkpoint {path}: it holds another tree; {"; ".join(told)}'
    )
