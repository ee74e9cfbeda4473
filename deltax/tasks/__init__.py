"""Tasks by name: what a network is trained and judged for."""

from typing import Any

from deltax.task import Task
from deltax.tasks import segmentation

TASKS = {'segmentation': segmentation.make_task}


def make_task(name: str, **options: Any) -> Task:
  """A task by its name, from plain values.

  Args:
    name: one of `TASKS`.
    **options: see the task's own `make_task`.

  Returns:
    The four functions (and what to watch) that the trainer takes.

  Raises:
    ValueError: if no task has that name.
  """
  if name not in TASKS:
    raise ValueError(f'no task {name!r}; known: {", ".join(TASKS)}')
  return TASKS[name](**options)
