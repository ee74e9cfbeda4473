"""Tasks by name: what a network is trained and judged for."""

from typing import Any

from deltax.task import Task
from deltax.tasks.detection import report as detection_report
from deltax.tasks.detection import task as detection
from deltax.tasks.imitation import report as imitation_report
from deltax.tasks.imitation import task as imitation
from deltax.tasks.parts import check_options, options_of
from deltax.tasks.retrieval import selection, similarity
from deltax.tasks.segmentation import report as segmentation_report
from deltax.tasks.segmentation import task as segmentation

TASKS = {
  'detection': detection.make_task,
  'imitation': imitation.make_task,
  'segmentation': segmentation.make_task,
  'selection': selection.make_task,
  'similarity': similarity.make_task,
}
# Those whose networks can start from a run of the same network.
WITH_TEACHER = ('detection', 'imitation', 'segmentation')
REPORTS = {
  'detection': detection_report.make_report,
  'imitation': imitation_report.make_report,
  'segmentation': segmentation_report.make_report,
}


def make_task(name: str, **options: Any) -> Task:
  """A task by its name, from plain values.

  Args:
    name: one of `TASKS`.
    **options: see the task's own `make_task`.

  Returns:
    The four functions (and what to watch) that the trainer takes.

  Raises:
    ValueError: an unknown name or option, with the known ones.
  """
  make = _known(name, TASKS)
  needed = options_of(make, needed=True)
  check_options(f'the task {name!r}', options, options_of(make), needed)
  return make(**options)


def make_report(*run: Any, options: dict[str, Any], **others: Any):
  """Evaluates a run and gathers its page; see the task's own `make_report`.

  Args:
    *run: params and model_state.
    options: keyword arguments of `make_task`, its name included.
    **others: see `deltax.tasks.video.report.gather`.
  """
  options = dict(options)
  report = _known(options.pop('name'), REPORTS)
  return report(*run, options=options, **others)


def _known(name, table):
  if name not in table:
    raise ValueError(f'no task {name!r}; known: {", ".join(table)}')
  return table[name]
