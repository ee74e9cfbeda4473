"""Checkpoints of orbax as numpy arrays, whatever wrote them."""

import os
import pathlib

import jax
import numpy as np

from deltax.errors import DeltaxError

_MARK = '_METADATA'  # in the folder of a pytree
_ITEMS = ('default', 'params', 'model', 'state')


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of a checkpoint by their keys, joined with '/'.

  Args:
    path: of a folder that orbax wrote: a pytree, a step with the item
      'default', 'params', 'model' or 'state', or of a manager, whose last step
      is read.

  Raises:
    DeltaxError: it is none of these, or damaged.
  """
  import orbax.checkpoint as ocp

  folder = _pytree(pathlib.Path(path).absolute())
  handler = ocp.PyTreeCheckpointHandler()
  try:
    known = handler.metadata(folder).tree
    # Else they would be put on the devices that wrote them.
    kinds = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), known
    )
    told = ocp.args.PyTreeRestore(restore_args=kinds)
    tree = handler.restore(folder, args=told)
  except Exception as error:  # of orbax, tensorstore or the file system
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise DeltaxError(
      f'the checkpoint {path} does not read as it was written: {line[:200]}'
    ) from error
  return {
    jax.tree_util.keystr(keys, simple=True, separator='/'): np.asarray(leaf)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if isinstance(leaf, np.ndarray | np.generic)
  }


def _pytree(folder: pathlib.Path) -> pathlib.Path:
  """The folder of the pytree in a checkpoint's."""
  steps = [path for path in folder.iterdir() if path.name.isdigit()]
  last = [max(steps, key=lambda path: int(path.name))] if steps else []
  for above in (folder, *last):
    for place in (above, *(above / item for item in _ITEMS)):
      if (place / _MARK).is_file():
        return place
  raise DeltaxError(
    f'the folder {folder} is no checkpoint of orbax: there is no {_MARK} in '
    f'it, nor in {", ".join(_ITEMS)}'
  )
