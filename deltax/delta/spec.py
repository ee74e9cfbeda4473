"""What is distilled: which layers, which candidates, against which frame."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from deltax.delta.references import REFERENCES, Reference
from deltax.delta.students.blocks import BlockCandidate, NoChange, Residual
from deltax.delta.students.coarse import Strided
from deltax.delta.students.layers import (
  Candidate,
  Full,
  LowRank,
  Skip,
  Teacher,
  Within,
  is_teacher,
)
from deltax.delta.students.narrow import Bottleneck, Depthwise
from deltax.delta.survey import Survey, span
from deltax.delta.units import Block, Dense, Unit, modules

CANDIDATES = {
  'full': Full,
  'low_rank': LowRank,
  'bottleneck': Bottleneck,
  'depthwise': Depthwise,
  'strided': Strided,
  'skip': Skip,
  'teacher': Teacher,
}
BLOCK_CANDIDATES = {
  'residual': Residual,
  'skip': NoChange,
  'teacher': Teacher,
}
Rule = Callable[[Sequence[Unit]], Sequence[Unit]]
BlockRule = Callable[[Sequence[Block]], Sequence[Block]]
Selected = dict[str, tuple[Unit, tuple]]


def all_but_first_and_last(layers: Sequence[Unit]) -> Sequence[Unit]:
  """The published rule for segmentation: the two ends stay as they are."""
  return layers[1:-1]


def detector(layers: Sequence[Unit]) -> Sequence[Unit]:
  """The published rule for detection, which is for convolutions alone.

  The first and the last two stay as they are, and so do depthwise ones and
  those of squeeze and excitation.
  """
  convolutions = [layer for layer in layers if not isinstance(layer, Dense)]
  return [
    layer
    for layer in convolutions[1:-2]
    if not 1 < layer.groups == layer.inputs[-1]
    and 'se' not in layer.path.split('/')
  ]


def no_blocks(blocks: Sequence[Block]) -> Sequence[Block]:
  """Every student is that of a convolution."""
  return blocks[:0]


def blocks_of(*names: str) -> BlockRule:
  """A rule that picks blocks by the names of their classes or by paths."""

  def rule(blocks):
    chosen = [block for block in blocks if {block.kind, block.path} & {*names}]
    if not chosen:
      known = sorted({block.kind for block in blocks})
      raise ValueError(
        f'no block is a {" or ".join(names)}; the network has '
        f'{", ".join(known) or "no blocks"}'
      )
    return chosen

  return rule


def published(layer: Unit) -> tuple[Candidate, ...]:
  """The published candidates of a convolution, and their like for others."""
  policy = 'min' if isinstance(layer, Dense) else 'out'
  return Full(), LowRank(4, policy)


RULES = {
  'all_but_first_and_last': all_but_first_and_last,
  'detector': detector,
}


@dataclasses.dataclass(frozen=True)
class Spec:
  """How a network is distilled; the defaults are the published segmentation.

  Attributes:
    layers: picks the convolutions and fully connected layers that get students,
      from all of them in order of execution (one entry a module).
    candidates: the candidates of every layer, or a function from a layer to
      its candidates. Of several, a gate chooses one. What cannot stand in for
      a layer is left out for it (`refused` tells why), and a layer for which
      nothing can stays the teacher's own.
    blocks: picks the submodules that get one student each, in place of their
      layers, from all that give one feature map (one entry a module); of
      one within another the outer is taken.
    spans: (first, last) paths of layers between which everything is one
      more block, from the input of the first to the output of the last. On
      later frames the layers before the last change nothing.
    block_candidates: the candidates of every block and span; `Teacher`, the
      block as it is, of blocks only. Or a function from a block to them.
    reference: what a change is measured against. 'key': the clip's key frame,
      as in the published code; 'previous': the frame before, the recurrent
      form of the paper's figure. They are equal for one later frame, and for
      any number of them while the students are linear, without bias. 'none':
      nothing; students predict the output itself from the input, which is
      feature distillation, the paper's baseline. Or a `Reference`.
    temperature: of the Gumbel-softmax.
    initial_logit: gate logit at the start, of every candidate but the last
      (whose logit is always 0).

  Raises:
    ValueError: for another reference or a temperature that is not positive.
  """

  layers: Rule = all_but_first_and_last
  candidates: tuple[Candidate, ...] | Callable[[Any], tuple] = published
  blocks: BlockRule = no_blocks
  spans: tuple[tuple[str, str], ...] = ()
  block_candidates: (
    tuple[BlockCandidate, ...] | Callable[[Block], tuple[BlockCandidate, ...]]
  ) = (Residual(),)
  reference: Literal['key', 'previous', 'none'] | Reference = 'key'
  temperature: float = 2 / 3
  initial_logit: float = -1.0

  def __post_init__(self):
    if isinstance(self.reference, str) and self.reference not in REFERENCES:
      known = ', '.join(map(repr, REFERENCES))
      raise ValueError(f'no reference {self.reference!r}; known: {known}')
    if self.temperature <= 0:
      raise ValueError(f'temperature {self.temperature} is not positive')

  @property
  def against(self) -> Reference:
    """The reference itself."""
    if isinstance(self.reference, str):
      return REFERENCES[self.reference]
    return self.reference

  def select(self, survey: Survey) -> Selected:
    """What has students, and the candidates, by path.

    Args:
      survey: of the network.

    Returns:
      `{path: (first call of the layer or block, its candidates)}`, blocks
      before layers, in order of execution.

    Raises:
      ValueError: if the rules pick nothing or something unknown, nothing that
        they pick can have a candidate, a block and a span share a layer, one
        of theirs is called outside of them too, or what has no candidates or
        two of one name.
    """
    return self._divide(survey)[0]

  def refused(self, survey: Survey) -> dict[str, dict[str, str]]:
    """Why candidates were left out: `{path: {candidate: reason}}`.

    Args:
      survey: of the network.
    """
    return self._divide(survey)[1]

  def _divide(self, survey: Survey) -> tuple[Selected, dict]:
    table, refused = {}, {}

    def add(unit, candidates):
      names = [candidate.name for candidate in candidates]
      if not names or len(set(names)) < len(names):
        raise ValueError(
          f'{unit.path!r} has candidates {names}; expected one or more, each '
          'with a name of its own'
        )
      kept, reasons = _divided(unit, candidates)
      if reasons:
        refused[unit.path] = reasons
      if kept:
        table[unit.path] = (unit, kept)

    blocks = _outermost(_known(self.blocks, modules(survey.blocks)))
    for block in blocks:
      add(block, offered(self.block_candidates, block))
    for ends in self.spans:
      block = span(survey, *ends)
      several = offered(self.block_candidates, block)
      add(block, tuple(c for c in several if not is_teacher(c)))
    chosen = [unit for unit, _ in table.values()]
    inside = _inside(survey, chosen)
    for layer in survey.layers:
      if any(layer.name in unit.layers[:-1] for unit in chosen if unit.ends):
        table[layer.path] = (layer, (Within(),))
    for layer in _known(self.layers, modules(survey.layers)):
      if layer.path not in inside:
        add(layer, offered(self.candidates, layer))
    if not table:
      raise ValueError(_nothing(survey, refused))
    return table, refused


def offered(candidates: Any, unit: Unit) -> tuple:
  """Candidates of a unit: those of all, or what a function gives for it."""
  return tuple(candidates(unit) if callable(candidates) else candidates)


def _divided(unit: Unit, candidates: tuple) -> tuple[tuple, dict[str, str]]:
  """The candidates that a unit can have, and why it cannot have the others."""
  reasons = {c.name: reason for c in candidates if (reason := unit.refuses(c))}
  kept = tuple(c for c in candidates if c.name not in reasons)
  # The teacher alone is what the unit is without any student.
  if reasons and all(map(is_teacher, kept)):
    return (), reasons
  return kept, reasons


def _nothing(survey: Survey, refused: Mapping[str, Mapping[str, str]]) -> str:
  """Why a network has no student at all, and what it has."""
  layers = modules(survey.layers)
  listed = '; '.join(f'{x.path} ({x.description})' for x in layers)
  if not refused:
    return f'the rule of the spec picked no layer; the network has {listed}'
  told = '; '.join(
    f'{path}: {name} ({reason})'
    for path, reasons in refused.items()
    for name, reason in reasons.items()
  )
  return (
    f'nothing has a student; left out were {told}; the network has {listed}'
  )


def _known(rule, calls):
  chosen = tuple(rule(calls))
  foreign = set(chosen) - set(calls)
  if foreign:
    raise ValueError(
      f'the rule of the spec picked {foreign}; the network has '
      f'{", ".join(call.path for call in calls)}'
    )
  return chosen


def _outermost(blocks: Sequence[Block]) -> list[Block]:
  return [
    block
    for block in blocks
    if not any(block.path.startswith(other.path + '/') for other in blocks)
  ]


def _inside(survey: Survey, blocks: Sequence[Block]) -> set[str]:
  """Paths of the layers within blocks."""
  chosen = {block.path for block in blocks}
  path_by_name = {layer.name: layer.path for layer in survey.layers}
  # Every call of a chosen submodule counts, and a span is called once.
  calls = [block for block in survey.blocks if block.path in chosen]
  calls += [block for block in blocks if block.ends]
  within = [name for block in calls for name in block.layers]
  if len(set(within)) < len(within):
    raise ValueError(f'of the blocks {sorted(chosen)} one is within another')
  inside = {path_by_name[name] for name in within}
  outside = {path_by_name[name] for name in set(path_by_name) - set(within)}
  if inside & outside:
    raise ValueError(
      f'{sorted(inside & outside)[0]!r} is called inside of a block and '
      'outside of it'
    )
  return inside


def make_spec(
  *,
  layers: str = 'all_but_first_and_last',
  candidates: Sequence[Sequence] | None = None,
  choices: Mapping[str, Sequence] | None = None,
  blocks: Sequence[str] = (),
  block_candidates: Sequence[Sequence] = (('residual', 4, 1),),
  **options,
) -> Spec:
  """A spec from plain values, as configs hold them.

  Args:
    layers: one of `RULES`.
    candidates: for each the name, one of `CANDIDATES`, and its arguments;
      those of `published` when absent.
    choices: the one candidate of a layer or a block, by its path, as a search
      has chosen it; those that are not named have `candidates` or
      `block_candidates`.
    blocks: names of the classes whose modules are blocks, or paths of modules.
    block_candidates: as `candidates`, of `BLOCK_CANDIDATES`.
    **options: `spans`, `reference`, `temperature` and `initial_logit` of
      `Spec`.

  Returns:
    The spec.

  Raises:
    ValueError: for a name that is not known, or arguments that a candidate
      cannot have.

  Example:
    >>> make_spec(candidates=(('full',), ('low_rank', 8))).candidates
    (Full(), LowRank(factor=8, policy='out'))
  """
  known = set(Spec.__dataclass_fields__)
  if unknown := [str(name) for name in options if name not in known]:
    raise ValueError(f'a spec has no option {", ".join(unknown)}')
  several = published
  if candidates is not None:
    several = _candidates(candidates, CANDIDATES)
  of_blocks = _candidates(block_candidates, BLOCK_CANDIDATES)
  if choices:
    _candidates(list(choices.values()), CANDIDATES | BLOCK_CANDIDATES)
    several = _chosen(choices, CANDIDATES, several)
    of_blocks = _chosen(choices, BLOCK_CANDIDATES, of_blocks)
  return Spec(
    layers=_entry('rule', layers, RULES),
    candidates=several,
    blocks=blocks_of(*blocks) if blocks else no_blocks,
    block_candidates=of_blocks,
    **options,
  )


def _chosen(
  choices: Mapping[str, Sequence], table: Mapping[str, Any], others: Any
) -> Callable:
  """The candidates of a unit: the one that was chosen for it, or others."""

  def candidates(unit):
    if unit.path in choices:
      return _candidates([choices[unit.path]], table)
    return offered(others, unit)

  return candidates


def _entry(what: str, name: Any, table: Mapping[str, Any]) -> Any:
  if not isinstance(name, str) or name not in table:
    raise ValueError(f'no {what} {name!r:.80}; known: {", ".join(table)}')
  return table[name]


def _candidates(
  given: Sequence[Sequence], table: Mapping[str, Any]
) -> tuple[Any, ...]:
  """Candidates from their names and arguments."""
  made = []
  for row in given:
    if not isinstance(row, tuple | list) or not row:
      raise ValueError(
        f'a candidate is {row!r:.80}, expected its name and its arguments'
      )
    make = _entry('candidate', row[0], table)
    try:
      made.append(make(*row[1:]))
    except TypeError as error:
      raise ValueError(
        f'the candidate {row[0]!r} cannot have the arguments '
        f'{list(row[1:])!r:.80}'
      ) from error
  return tuple(made)
