"""What a distilled network costs: multiply-accumulates by layer."""

import collections
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from jax.extend.core import jaxprs_in_params

from deltax.delta.adapters import as_network
from deltax.delta.students.layers import is_teacher
from deltax.delta.survey import Survey
from deltax.delta.survey import survey as survey_of
from deltax.delta.units import Unit


class Row(NamedTuple):
  """Cost of one call of a layer, or of a block with a student of its own.

  What is multiplied outside of layers, such as in attention, has a row by the
  submodule that it is in.

  Attributes:
    name: module path, with the call number from the second call on.
    candidate: name of the chosen student; '' for a layer without students.
    key: multiply-accumulates on a key frame (the teacher's).
    later: multiply-accumulates on a later frame.
    candidates: those of every candidate by name, in the order of the spec.
    path: module path.
    left_out: why it has none of some of the spec's candidates, by name.
  """

  name: str
  candidate: str
  key: int
  later: int
  candidates: dict[str, int]
  path: str
  left_out: Mapping[str, str] = MappingProxyType({})

  def amortised(self, interval: int) -> float:
    """Mean over `interval` frames, one of them a key frame."""
    return (self.key + (interval - 1) * self.later) / interval


class Macs(NamedTuple):
  """Cost of a network on frames of one size.

  Convolutions (padding included, as published, and the teacher's biases), fully
  connected layers (without) and other products are counted, those of attention
  among them; normalisation, activations, resizing, and the two additions that a
  delta costs are not. See `as_published`.

  Attributes:
    rows: cost of every layer, in order of execution.
  """

  rows: tuple[Row, ...]

  def __str__(self) -> str:
    """A table: what every layer got, what it costs, and what was left out."""
    width = max(len(row.name) for row in self.rows)
    chosen = max(len(row.candidate) for row in self.rows)
    lines = [f'{"":{width}}  {"":{chosen}}  {"key":>13}  {"later":>13}']
    for row in (*self.rows, Row('', '', self.key, self.later, {}, '')):
      left_out = '; '.join(f'no {k}: {why}' for k, why in row.left_out.items())
      lines.append(
        f'{row.name:{width}}  {row.candidate:{chosen}}  {row.key:13,}  '
        f'{row.later:13,}  {left_out}'.rstrip()
      )
    return '\n'.join(lines)

  @property
  def key(self) -> int:
    """Multiply-accumulates of a key frame."""
    return sum(row.key for row in self.rows)

  @property
  def later(self) -> int:
    """Multiply-accumulates of a later frame."""
    return sum(row.later for row in self.rows)

  def amortised(self, interval: int) -> float:
    """Mean over `interval` frames, one of them a key frame."""
    return (self.key + (interval - 1) * self.later) / interval


def table(
  survey: Survey,
  selected: Mapping,
  choices: Mapping[str, int],
  refused: Mapping[str, Mapping[str, str]] | None = None,
) -> Macs:
  """Cost of a network whose gates have chosen.

  Args:
    survey: of the network, for the frame size in question.
    selected: `Spec.select` of the survey's layers.
    choices: index of the chosen candidate, by path.
    refused: why candidates were left out, as `Spec.refused` tells.

  Returns:
    The costs by layer.
  """
  rows, refused = [], refused or {}
  calls = units(survey, selected)
  for unit in calls:
    students, chosen = {}, ''
    key = survey.macs(unit, bias=True)
    if unit.path in selected:
      _, candidates = selected[unit.path]
      students = {c.name: _macs(survey, c, unit, bias=True) for c in candidates}
      chosen = candidates[choices.get(unit.path, 0)].name
    later = students.get(chosen, key)
    left_out = _left_out(refused, unit.path)
    row = Row(unit.name, chosen, key, later, students, unit.path, left_out)
    rows.append(row)
  others: collections.Counter[str] = collections.Counter()
  for product in survey.products:
    if not any(survey.holds(unit, product) for unit in calls):
      others[product.path] += product.macs
  rows += [Row(path, '', n, n, {}, path) for path, n in others.items()]
  return Macs(tuple(rows))


def _left_out(
  refused: Mapping[str, Mapping[str, str]], path: str
) -> dict[str, str]:
  """What was left out for a layer, and for the blocks that it is in."""
  left_out = {}
  for holder, reasons in refused.items():
    if path == holder or path.startswith(holder + '/'):
      left_out |= reasons
  return left_out


def count(net: Any, variables: Any, frame: Any) -> Macs:
  """Cost of a network as it is, on every frame.

  Args:
    net: the network; see `deltax.delta.distill`.
    variables: of the network; only shapes matter.
    frame: `[B, H, W, C]`; only the shape matters.

  Returns:
    The costs by layer, of one frame.
  """
  return table(survey_of(net, variables, frame), {}, {})


def as_published(macs: Macs, net: Any, variables: Any, frame: Any) -> Macs:
  """A cost as the published counter gives it, to compare with its figures.

  It also counts, on every frame, one operation for each element that a ReLU or
  a pooling reads, and on later frames a bias for each student of a layer that
  has one: the published students keep their teacher's. Left out here are the
  nearest-neighbour resizing and the max pooling of detectors, which it counts
  too: less than 0.3% of a frame.

  Args:
    macs: from `Delta.macs` or `count`, for frames of the same size.
    net: the network.
    variables: of the network; only shapes matter.
    frame: `[B, H, W, C]`; only the shape matters.

  Returns:
    The costs by layer, and those operations as one more row.
  """
  biases = {
    layer.name: layer.macs(bias=True) - layer.macs(bias=False)
    for layer in survey_of(net, variables, frame).layers
  }

  def biased(row):
    if not row.candidate:
      return row
    bias = biases[row.name]
    candidates = {name: n + bias for name, n in row.candidates.items()}
    return row._replace(later=row.later + bias, candidates=candidates)

  jaxpr = jax.make_jaxpr(as_network(net).run)(variables, frame).jaxpr
  others = _elementwise(jaxpr) // frame.shape[0]
  name = 'activations and pooling'
  rows = [biased(row) for row in macs.rows]
  return Macs((*rows, Row(name, '', others, others, {}, name)))


def _elementwise(jaxpr):
  """Elements that the ReLUs and the pooling windows of a program read."""
  total = 0
  for eqn in jaxpr.eqns:
    # A ReLU is a maximum with the literal 0.
    relu = eqn.primitive.name == 'max' and any(
      getattr(operand, 'val', None) == 0 for operand in eqn.invars
    )
    if relu or eqn.primitive.name.startswith('reduce_window'):
      total += max(math.prod(operand.aval.shape) for operand in eqn.invars)
    total += sum(map(_elementwise, jaxprs_in_params(eqn.params)))
  return total


def prices(
  survey: Survey, selected: Mapping
) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
  """What each candidate of each layer would cost, all its calls together.

  Args:
    survey: of the network, for the frame size in question.
    selected: `Spec.select` of the survey's layers.

  Returns:
    Multiply-accumulates of the candidates, in order, and of the teacher's own
    layer, both by path.
  """
  costs, teacher = {}, {}
  calls = units(survey, selected)
  for path, (_, candidates) in selected.items():
    of_path = [unit for unit in calls if unit.path == path]
    costs[path] = tuple(
      float(sum(_macs(survey, c, unit, bias=False) for unit in of_path))
      for c in candidates
    )
    teacher[path] = float(
      sum(survey.macs(unit, bias=False) for unit in of_path)
    )
  return costs, teacher


def units(survey: Survey, selected: Mapping) -> list[Unit]:
  """What costs something by itself: selected blocks, layers outside of them.

  Args:
    survey: of the network.
    selected: `Spec.select` of it.

  Returns:
    Every call, in order of execution.
  """
  called = [block for block in survey.blocks if block.path in selected]
  spans = [unit for unit, _ in selected.values() if unit.ends]
  first = {block.layers[0]: block for block in (*called, *spans)}
  inside = {name for block in first.values() for name in block.layers}
  return [
    first.get(layer.name, layer)
    for layer in survey.layers
    if layer.name in first or layer.name not in inside
  ]


def _macs(survey: Survey, candidate: Any, unit: Unit, *, bias: bool) -> int:
  """Those of a candidate; only the teacher's own layers have a bias."""
  if is_teacher(candidate):
    return survey.macs(unit, bias=bias)
  return unit.student_macs(candidate)
