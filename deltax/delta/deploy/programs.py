"""Programs of JAX in parts: some of their equations as functions."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Literal


def part(
  program: ClosedJaxpr, equations: Sequence[Any], wanted: Collection[Any]
) -> ClosedJaxpr:
  """Some equations of a program, as a function to the `wanted` variables."""
  constants = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
  made = dict.fromkeys(v for eqn in equations for v in eqn.outvars)
  needed = read(equations)
  held = [v for v in needed if v in constants]
  return ClosedJaxpr(
    program.jaxpr.replace(
      constvars=held,
      invars=[v for v in needed if v not in made and v not in constants],
      outvars=[v for v in made if v in wanted],
      eqns=list(equations),
    ),
    [constants[v] for v in held],
  )


def read(equations: Iterable[Any]) -> list[Any]:
  """Variables that equations read, each once."""
  inputs = (v for equation in equations for v in equation.invars)
  return list(dict.fromkeys(v for v in inputs if not isinstance(v, Literal)))
