"""The products of arrays that a program holds, such as those of attention."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jax.extend.core import jaxprs_in_params


class Product(NamedTuple):
  """A product of arrays in a program.

  Attributes:
    scope: the named scopes that it was traced in, from the outermost.
    macs: its multiply-accumulates.
  """

  scope: str
  macs: int


def products(
  jaxpr: Any,
  live: Sequence[bool] | None = None,
  scope: str = '',
  repeats: int = 1,
) -> Iterator[Product]:
  """The products of a program, in order of execution.

  Those with a constant are left out: with the weights of a resizing, the ones
  of a mean. Of the branches of a condition all are given, of a loop that ends
  by a condition one turn.

  Args:
    jaxpr: the program.
    live: which of its inputs depend on what the whole program is given; all
      when absent.
    scope: that it is called in.
    repeats: how often it is called.
  """
  flags = [True] * len(jaxpr.invars) if live is None else live
  reached = {
    v for v, is_live in zip(jaxpr.invars, flags, strict=True) if is_live
  }
  for eqn in jaxpr.eqns:
    # A literal has a value, and cannot be looked up.
    reads = [not hasattr(v, 'val') and v in reached for v in eqn.invars]
    if any(reads):
      reached.update(eqn.outvars)
    own_scope = f'{scope}/{eqn.source_info.name_stack}'
    count = _COUNTS.get(eqn.primitive.name)
    if count and all(reads[:2]):
      yield Product(own_scope, repeats * count(eqn))
    turns = eqn.params.get('length', 1) if eqn.primitive.name == 'scan' else 1
    for inner in jaxprs_in_params(eqn.params):
      # Branches and loops hand on their inputs in ways of their own.
      same = len(inner.invars) == len(reads)
      yield from products(
        inner, reads if same else None, own_scope, repeats * turns
      )


def _matrix_macs(eqn) -> int:
  (contracted, _), _ = eqn.params['dimension_numbers']
  left = eqn.invars[0].aval.shape
  return eqn.outvars[0].aval.size * math.prod(left[i] for i in contracted)


def _conv_macs(eqn) -> int:
  kernel, numbers = eqn.invars[1].aval, eqn.params['dimension_numbers']
  taps = kernel.size // kernel.shape[numbers.rhs_spec[0]]
  # None of the zeros between the pixels of a transposed convolution's input.
  return (
    eqn.outvars[0].aval.size * taps // math.prod(eqn.params['lhs_dilation'])
  )


_COUNTS = {'dot_general': _matrix_macs, 'conv_general_dilated': _conv_macs}
