"""What is distilled: which layers, which candidates, against which frame."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from deltax.delta.layers import Layer, modules
from deltax.delta.students import Candidate, Full, LowRank

CANDIDATES = {'full': Full, 'low_rank': LowRank}
Rule = Callable[[Sequence[Layer]], Sequence[Layer]]


def all_but_first_and_last(layers: Sequence[Layer]) -> Sequence[Layer]:
  """The published rule for segmentation: the two ends stay as they are."""
  return layers[1:-1]


def detector(layers: Sequence[Layer]) -> Sequence[Layer]:
  """The published rule for detection.

  The first layer and the last two stay as they are, and so do depthwise
  convolutions and those of squeeze and excitation.
  """
  return [
    layer
    for layer in layers[1:-2]
    if not 1 < layer.groups == layer.inputs[-1]
    and 'se' not in layer.path.split('/')
  ]


RULES = {
  'all_but_first_and_last': all_but_first_and_last,
  'detector': detector,
}


@dataclasses.dataclass(frozen=True)
class Spec:
  """How a network is distilled; the defaults are the published segmentation.

  Attributes:
    layers: picks the convolutions that get students, from all convolutions in
      order of execution (one entry a module).
    candidates: the candidates of every layer, or a function from a layer to
      its candidates. Of several, a gate chooses one.
    reference: what a change is measured against. 'key': the clip's key frame,
      as in the published code; 'previous': the frame before, the recurrent
      form of the paper's figure. They are equal for one later frame, and for
      any number of them while the students are linear, without bias.
    temperature: of the Gumbel-softmax.
    initial_logit: gate logit at the start, of every candidate but the last
      (whose logit is always 0).

  Raises:
    ValueError: for another reference or a temperature that is not positive.
  """

  layers: Rule = all_but_first_and_last
  candidates: tuple[Candidate, ...] | Callable[[Layer], tuple] = (
    Full(),
    LowRank(4, 'out'),
  )
  reference: Literal['key', 'previous'] = 'key'
  temperature: float = 2 / 3
  initial_logit: float = -1.0

  def __post_init__(self):
    if self.reference not in ('key', 'previous'):
      raise ValueError(
        f"no reference {self.reference!r}; known: 'key', 'previous'"
      )
    if self.temperature <= 0:
      raise ValueError(f'temperature {self.temperature} is not positive')

  def select(self, layers: Sequence[Layer]) -> dict[str, tuple[Layer, tuple]]:
    """Layers with students, and their candidates, by path.

    Args:
      layers: every call of a convolution, in order of execution.

    Returns:
      `{path: (first call of the layer, its candidates)}`, in that order.

    Raises:
      ValueError: if the rule picks no layer or an unknown one, or a layer has
        no candidates or two of one name.
    """
    known = modules(layers)
    chosen = tuple(self.layers(known))
    foreign = set(chosen) - set(known)
    if not chosen or foreign:
      raise ValueError(
        f'the rule of the spec picked {"no layer" if not chosen else foreign}; '
        f'the network has {", ".join(layer.path for layer in known)}'
      )
    table = {}
    for layer in chosen:
      options = self.candidates
      options = tuple(options(layer) if callable(options) else options)
      names = [candidate.name for candidate in options]
      if not names or len(set(names)) < len(names):
        raise ValueError(
          f'{layer.path!r} has candidates {names}; expected one or more, each '
          'with a name of its own'
        )
      table[layer.path] = (layer, options)
    return table


def make_spec(
  *,
  layers: str = 'all_but_first_and_last',
  candidates: Sequence[Sequence] = (('full',), ('low_rank', 4, 'out')),
  **options,
) -> Spec:
  """A spec from plain values, as configs hold them.

  Args:
    layers: one of `RULES`.
    candidates: for each the name, one of `CANDIDATES`, and its arguments.
    **options: `reference`, `temperature` and `initial_logit` of `Spec`.

  Returns:
    The spec.

  Raises:
    ValueError: for a name that is not known.

  Example:
    >>> make_spec(candidates=(('full',), ('low_rank', 8))).candidates
    (Full(), LowRank(factor=8, policy='out'))
  """

  def known(what, name, table):
    if name not in table:
      raise ValueError(f'no {what} {name!r}; known: {", ".join(table)}')
    return table[name]

  return Spec(
    layers=known('rule', layers, RULES),
    candidates=tuple(
      known('candidate', name, CANDIDATES)(*arguments)
      for name, *arguments in candidates
    ),
    **options,
  )
