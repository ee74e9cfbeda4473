"""Programs of a network, whoever wrote it, rewritten to be fast on CPU.

Networks call `nn.max_pool` and add what two blocks give, functions and no
modules, which no hook meets; in the program that is traced of them each is one
operation, easily told.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from deltax.delta.deploy.programs import part, read
from deltax.layers import forms
from deltax.layers.cpu import computed_once
from deltax.layers.pool import max_pool
from deltax.types import Array

_is_traced: ContextVar[bool] = ContextVar('is_traced', default=False)


def rewritten(function: Callable[..., Any]) -> Callable[..., Any]:
  """The same function, whose program on CPU XLA makes less slow.

  Max-pools become maxima of slices. XLA's own are not only slower by
  themselves. XLA (that of jax 0.10) hands one to a library with all layers
  before and behind it that the library knows, as one program, in which narrow
  convolutions take three times as long. Slices are fused with what is pooled, a
  ReLU and what it is of, and with nothing else.

  Images that are read more than once are computed once (`deltax.layers.cpu`).
  The numbers are the same.

  Args:
    function: of pytrees of arrays, to one. When it is called by another such
      function, it is left to that.
  """

  @functools.wraps(function)
  def run(*args: Any) -> Any:
    if forms.target() != 'cpu' or _is_traced.get():
      return function(*args)
    token = _is_traced.set(True)
    try:
      program, shapes = jax.make_jaxpr(
        lambda *args: function(*args), return_shape=True
      )(*args)
    finally:
      _is_traced.reset(token)
    outputs = _outputs(program, jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

  return run


def _outputs(program: ClosedJaxpr, leaves: Sequence[Array]) -> list[Array]:
  """What a program gives, its pools replaced and its shared images kept."""
  jaxpr = program.jaxpr
  values = dict(zip(jaxpr.constvars, program.consts, strict=True))
  values |= zip(jaxpr.invars, leaves, strict=True)

  def run(equations, rest):
    wanted = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    between = part(program, equations, wanted.union(read(rest)))
    inputs = [values[v] for v in between.jaxpr.invars]
    made = jaxpr_as_fun(between)(*inputs)
    values.update(zip(between.jaxpr.outvars, made, strict=True))

  done = 0
  shared = _shared(jaxpr.eqns)
  for place, equation in enumerate(jaxpr.eqns):
    if _is_max_pool(equation):
      run(jaxpr.eqns[done:place], jaxpr.eqns[place:])
      (x,), (y,) = equation.invars, equation.outvars
      values[y] = _pooled(values[x], equation.params)
    elif not shared.isdisjoint(equation.outvars):
      run(jaxpr.eqns[done : place + 1], jaxpr.eqns[place + 1 :])
      for y in shared.intersection(equation.outvars):
        values[y] = computed_once(values[y])
    else:
      continue
    done = place + 1
  run(jaxpr.eqns[done:], ())
  return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def _shared(equations: Sequence[Any]) -> set[Any]:
  """Images that several equations read, other than layers' own outputs."""
  readers = collections.Counter(
    v for equation in equations for v in read([equation])
  )
  return {
    v
    for equation in equations
    if equation.primitive.name not in _WRITTEN
    for v in equation.outvars
    if readers[v] > 1
    and v.aval.ndim == 4
    and jnp.issubdtype(v.aval.dtype, jnp.floating)
  }


def _is_max_pool(equation: Any) -> bool:
  """Whether it pools images as `max_pool` does."""
  if equation.primitive.name != 'reduce_window_max':
    return False
  aval, given = equation.invars[0].aval, equation.params
  return (
    aval.ndim == 4
    and jnp.issubdtype(aval.dtype, jnp.floating)
    and {*given['base_dilation'], *given['window_dilation']} == {1}
    # Neither over frames nor over channels.
    and {n for name in _SIZES for n in given[name][::3]} == {1}
    and {*given['padding'][::3]} == {(0, 0)}
  )


# What XLA computes once by itself: convolutions, and ours, with their gradient.
_WRITTEN = ('conv_general_dilated', 'custom_vjp_call', 'dot_general', 'reshape')
_SIZES = ('window_dimensions', 'window_strides')


def _pooled(x: Array, given: Any) -> Array:
  window, stride = (tuple(given[name][1:3]) for name in _SIZES)
  return max_pool(x, window, stride, tuple(given['padding'][1:3]))
