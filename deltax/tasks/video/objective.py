"""The objective of delta distillation, whatever the network is trained for.

Source: Habibian et al., ECCV 2022, section 3; the recipes of both tasks are
options of one objective.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta import latency as latencies_of
from deltax.task import Fit
from deltax.tasks.parts import check_options, variables_of
from deltax.tasks.video import choosing
from deltax.tasks.video.choice.budget import Budget
from deltax.tasks.video.choice.gate_search import GateSearch
from deltax.tasks.video.distillation import Distillation
from deltax.types import Array, Key, ModelState, Params


class Passed(NamedTuple):
  """What a clip was to a delta network, for a task to add its own losses.

  Attributes:
    losses: 'distillation' `[B]` and 'budget' `[]`, weighted.
    model_state: that the next step begins with.
    teacher: variables of the teacher, through which gradients flow if it is
      trained.
    outs: outputs on all frames, each array `[B, T, ...]`.
    targets: the teacher's own outputs, of the same shapes.
  """

  losses: dict[str, Array]
  model_state: ModelState
  teacher: Any
  outs: Any
  targets: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
  """A delta network and how it is trained; `make_objective` makes one.

  Attributes:
    net: the network.
    training_net: the same, its batch statistics pooled over `axis_name`.
    axis_name: mapped axis of the devices; None where there is none.
    spec: which layers and blocks have students, and which.
    distillation: the loss of the predicted changes.
    budget: the loss of what a later frame costs.
    gate_search: when the gates settle, and on what.
    start: 'students' and 'gates' to start from, as a converted checkpoint holds
      them; None starts from the teacher's kernels.
    train_teacher: whether gradients reach the teacher's weights.
    batch_statistics: whether batch norm uses and updates batch statistics, or
      the teacher's running ones.
    scan: whether clips roll through `lax.scan` in training; needs running
      statistics.
    remat: whether the gradient computes the students' pass again, rather than
      keeping its activations: less memory for more time.

  Raises:
    ValueError: for `scan` with batch statistics.
  """

  net: Any
  training_net: Any
  axis_name: str | None
  spec: delta_wing.Spec
  distillation: Distillation
  budget: Budget
  gate_search: GateSearch
  start: Mapping[str, Any] | None = None
  train_teacher: bool = True
  batch_statistics: bool = True
  scan: bool = False
  remat: bool = False

  def __post_init__(self):
    if self.scan and self.batch_statistics:
      raise ValueError(
        'scan=True trains frame by frame, where there are no batch statistics; '
        'set batch_statistics=False'
      )

  @functools.cached_property
  def delta(self) -> delta_wing.Delta:
    """The delta network, for evaluation."""
    return delta_wing.distill(self.net, self.spec)

  @functools.cached_property
  def training_delta(self) -> delta_wing.Delta:
    """The same, its batch statistics pooled over the devices."""
    return delta_wing.distill(self.training_net, self.spec)

  def init(
    self, key: Key, teacher: Any, frame: Array
  ) -> tuple[Params, ModelState]:
    """What is trained and what is tracked, before the first step.

    Args:
      key: for the students and the gates.
      teacher: variables of the network.
      frame: `[B, H, W, 3]`; only the shape matters.

    Returns:
      Parameters 'teacher', 'students' and 'gates'; and the state:
      'batch_stats', 'step', 'distillation_scale', and 'gates' where a choice is
      settled.

    Raises:
      ValueError: layers in `costs` or `start` are not those of the spec, or no
        choice reaches the target.
    """
    params = jax.jit(self.delta.init)(key, teacher, frame)
    if self.budget.costs is not None:
      _check_paths('costs', self.budget.costs, params['students'])
    if self.start is not None:
      params = _started(params, self.start)
    state = {
      'batch_stats': teacher.get('batch_stats', {}),
      'distillation_scale': self.distillation.start(self._calls(params, frame)),
      'step': jnp.zeros((), jnp.int32),
    }
    if self.gate_search.settles:
      prices = self.budget.prices(self.delta, teacher, frame)
      state['gates'] = self.gate_search.start(params['gates'], prices)
    return {**params, 'teacher': params['teacher']['params']}, state

  def losses(
    self, params: Params, model_state: ModelState, clip: Array, key: Key
  ) -> Passed:
    """Runs a clip through both networks.

    Args:
      params: from `init` or a step.
      model_state: the same.
      clip: float32 `[B, T, H, W, 3]`, normalised; frame 0 is the key frame.
      key: for the gates' noise.

    Raises:
      ValueError: a clip of one frame.
    """
    if clip.shape[1] < 2:
      raise ValueError(
        'a delta network trains on clips of two frames or more, got clips of '
        'one; set clip_length=2'
      )
    if not self.train_teacher:
      params = {**params, 'teacher': jax.lax.stop_gradient(params['teacher'])}
    teacher = variables_of(params, model_state)
    whole, step = {**params, 'teacher': teacher}, model_state['step']
    prices = self.budget.prices(self.delta, teacher, clip)
    stage = self.gate_search.stage(
      step,
      self.delta.sample(key, whole),
      logits_of(params),
      logits_of(model_state),
      prices,
    )
    outs, aux = self._students_pass(whole, clip, key, stage.weights)
    targets, changes = self.delta.reference(whole, clip)
    distillation, scale = self.distillation.loss(
      self.distillation.errors(aux.deltas, changes),
      model_state['distillation_scale'],
      step,
      self.axis_name,
    )
    budget = self.budget.loss(prices, stage.weights, logits_of(params))
    state = {
      'batch_stats': aux.batch_stats,
      'distillation_scale': scale,
      'step': step + 1,
    }
    if self.gate_search.settles:
      state['gates'] = stage.chosen
    return Passed(
      {
        'distillation': distillation,
        'budget': jnp.where(stage.is_open, budget, 0.0),
      },
      state,
      teacher,
      outs,
      targets,
    )

  def fit(
    self, params: Params, model_state: ModelState, clips: Sequence[Array]
  ) -> tuple[Params, dict[str, Any]]:
    """Solves for the students; see `deltax.delta.fit`.

    Args:
      params: from `init`.
      model_state: the same.
      clips: float32 `[B, T, H, W, 3]` each, as the network takes them.

    Returns:
      The parameters; and the errors 'before' and 'after' by path and candidate,
      as shares of the squares of the teacher's own changes.
    """
    whole = {**params, 'teacher': variables_of(params, model_state)}
    fitted = delta_wing.fit(self.delta, whole, clips)
    errors = {'before': fitted.before, 'after': fitted.after}
    return {**fitted.params, 'teacher': params['teacher']}, errors

  def fitting(self, prepare: Callable[[Array], Array]) -> Fit:
    """What a task's `fit` is, of batches whose frames are to be prepared."""

    def fit(params, model_state, batches):
      clips = [prepare(jnp.asarray(batch['frames'])) for batch in batches]
      return self.fit(params, model_state, clips)

    return fit

  def choosing(
    self, prepare: Callable[[Array], Array]
  ) -> Callable[..., list[dict[str, Any]]]:
    """What a task's `choose` is; see `deltax.tasks.video.choosing.choose`."""

    def choose(params, model_state, batches, spec, size, targets, **wishes):
      clips = [prepare(jnp.asarray(batch['frames'])) for batch in batches]
      frame = prepare(jnp.zeros((1, *size, 3), jnp.uint8))
      variables = variables_of(params, model_state)
      return choosing.choose(
        *(self.net, variables, spec, clips, frame, targets), **wishes
      )

    return choose

  def _students_pass(self, params, clip, key, gates):
    run = functools.partial(
      self.training_delta.clip, train=self.batch_statistics, scan=self.scan
    )
    if self.remat:
      run = jax.checkpoint(run)
    return run(params, clip, key=key, gates=gates)

  def watch(self, params: Params, model_state: ModelState) -> dict[str, Array]:
    """See `deltax.task.Task`: the gates, as `GateSearch.watched` tells them."""
    return self.gate_search.watched(
      model_state['step'], logits_of(params), logits_of(model_state)
    )

  def _calls(self, params: Params, frame: Array) -> int:
    """How many calls of layers are distilled."""

    def errors(params, clip):
      _, changes = self.delta.reference(params, clip)
      return self.distillation.errors(changes, changes)

    pair = jax.ShapeDtypeStruct((1, 2, *frame.shape[1:]), jnp.float32)
    return jax.eval_shape(errors, params, pair).shape[0]


# What each option of a config sets: a field of a part, by the part's name.
DISTILLATION = {
  'distillation_weight': 'weight',
  'distillation_steps': 'steps',
  'distillation_scale': 'scale',
  'last_call_only': 'last_call_only',
}
BUDGET = {
  'budget_weight': 'weight',
  'published_cost': 'published_cost',
  'costs': 'costs',
  'target': 'target',
}
GATE_SEARCH = {'target': 'target', 'search_steps': 'steps'}
WHOLE = ('start', 'train_teacher', 'batch_statistics', 'scan', 'remat')
OPTIONS = tuple(
  dict.fromkeys(
    ('spec', 'latency', *DISTILLATION, *BUDGET, *GATE_SEARCH, *WHOLE)
  )
)


def make_objective(
  net: Any,
  training_net: Any,
  *,
  axis_name: str | None,
  spec: Mapping[str, Any] | None = None,
  latency: str = '',
  **options: Any,
) -> Objective:
  """An objective from plain values, as configs hold them.

  Args:
    net: the network.
    training_net: the same, its batch statistics pooled over `axis_name`.
    axis_name: mapped axis of the devices.
    spec: options of `deltax.delta.make_spec`; absent, the published
      segmentation setting.
    latency: file that `deltax profile` wrote, for `Budget.latencies`; '' for
      none.
    **options: `distillation_weight`, `distillation_steps`, `distillation_scale`
      and `last_call_only`, see `Distillation`; `budget_weight`, `target`,
      `published_cost` and `costs`, see `Budget`; `search_steps`, see
      `GateSearch`; `start`, `train_teacher`, `batch_statistics`, `scan` and
      `remat`, see `Objective`.

  Raises:
    ValueError: an unknown option, with the known ones; options that do not go
      together.
    FileNotFoundError: there is no file of latencies.
  """
  check_options('a delta network', options, OPTIONS)

  def given(names):
    return {
      field: options[name] for name, field in names.items() if name in options
    }

  return Objective(
    *(net, training_net, axis_name),
    spec=delta_wing.make_spec(**(spec or {})),
    distillation=Distillation(**given(DISTILLATION)),
    budget=Budget(
      **given(BUDGET),
      latencies=latencies_of.read(latency) if latency else None,
    ),
    gate_search=GateSearch(**given(GATE_SEARCH)),
    **{name: options[name] for name in WHOLE if name in options},
  )


def logits_of(tree: Mapping[str, Any]) -> dict[str, Array]:
  """Those of gates; a saved tree has no empty branches."""
  return tree.get('gates', {})


def _started(params: Params, start: Mapping[str, Any]) -> Params:
  """Drawn parameters, replaced by those of a run as far as it has any."""
  students = params['students']
  # Saved trees have no empty branches, as students without weights are.
  own = start.get('students', {})
  _check_paths('start', _with_weights(own), _with_weights(students))
  for path, student in own.items():
    if _shapes(student) != _shapes(students[path]):
      raise ValueError(
        f'the students of {path!r} to start from have arrays '
        f'{_shapes(student)}, those of the spec {_shapes(students[path])}'
      )
  return {**params, **start, 'students': {**students, **own}}


def _shapes(student: Any) -> dict[str, tuple[int, ...]]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(student)
  }


def _with_weights(students: Mapping[str, Any]) -> dict[str, Any]:
  return {path: own for path, own in students.items() if jax.tree.leaves(own)}


def _check_paths(name: str, given: Mapping, known: Mapping) -> None:
  if set(given) != set(known):
    raise ValueError(
      f'{name} names {len(given)} layers, the network has {len(known)} with '
      f'students; not in both: {", ".join(sorted(set(given) ^ set(known)))}'
    )
