"""Programs of JAX as ONNX models, converted in parts.

The converter rewrites a graph until nothing is left to do, and looks through
all of it for every rewriting: minutes for a network of a thousand operations.
So it is given a program in short parts, whose nodes are put together again.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from deltax.delta.deploy.programs import part, read
from deltax.errors import DeltaxError

_LONGEST = 40  # equations that are converted at a time

Names = dict[Any, str]  # by variable of the program


def to_onnx(
  program: ClosedJaxpr, inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
  """An ONNX model of a function of arrays.

  Args:
    program: the function, as `jax.make_jaxpr` traces it. Every result depends
      on an argument.
    inputs: names of the arguments in the model.
    outputs: names of the results. A result that is an argument unchanged may
      have the argument's name.

  Returns:
    The model, serialised.

  Raises:
    DeltaxError: naming the layer and the operation that cannot be converted.
    ImportError: the packages of the extra `export` are missing.
  """
  import onnx

  program = _folded(program)
  jaxpr = program.jaxpr
  names = dict(zip(jaxpr.invars, inputs, strict=True))
  models = _converted(part(program, jaxpr.eqns, set(jaxpr.outvars)), names)
  nodes = [node for model in models for node in model.graph.node]
  for name, variable in zip(outputs, jaxpr.outvars, strict=True):
    if names[variable] != name:
      nodes.append(onnx.helper.make_node('Identity', [names[variable]], [name]))
  graph = onnx.helper.make_graph(
    nodes,
    'program',
    [_described(n, v) for n, v in zip(inputs, jaxpr.invars, strict=True)],
    [_described(n, v) for n, v in zip(outputs, jaxpr.outvars, strict=True)],
    [constant for model in models for constant in model.graph.initializer],
  )
  whole = onnx.helper.make_model(
    graph,
    opset_imports=models[0].opset_import,
    ir_version=models[0].ir_version,
  )
  return whole.SerializeToString()


def _described(name: str, variable: Any) -> Any:
  import onnx

  dtype = np.dtype(variable.aval.dtype)
  kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
  return onnx.helper.make_tensor_value_info(name, kind, variable.aval.shape)


def _folded(program: ClosedJaxpr) -> ClosedJaxpr:
  """The same program; what does not depend on its arguments is computed."""
  jaxpr = program.jaxpr
  varying, fixed, rest = set(jaxpr.invars), [], []
  for equation in jaxpr.eqns:
    if varying.isdisjoint(read([equation])):
      fixed.append(equation)
    else:
      rest.append(equation)
      varying.update(equation.outvars)
  before = part(program, fixed, set(read(rest)))
  values = jax.jit(jaxpr_as_fun(before))()
  constants = dict(zip(jaxpr.constvars, program.consts, strict=True))
  constants |= zip(before.jaxpr.outvars, values, strict=True)
  return ClosedJaxpr(
    jaxpr.replace(constvars=list(constants), eqns=rest),
    list(constants.values()),
  )


def _converted(program: ClosedJaxpr, names: Names) -> list[Any]:
  """ONNX models that compute a program one after the other.

  Args:
    program: a part of the whole.
    names: of its arguments; those of its results are added.
  """
  jaxpr = program.jaxpr
  if len(jaxpr.eqns) <= _LONGEST:
    for variable in jaxpr.outvars:
      names.setdefault(variable, f'array_{len(names)}')
    try:
      return [_convert(program, names)]
    # The converter fails in many ways, some of them only on several equations.
    except Exception as error:
      if len(jaxpr.eqns) == 1:
        layer = jaxpr.eqns[0].source_info.name_stack
        raise DeltaxError(f'{layer} has no form in ONNX: {error}') from error
  middle = len(jaxpr.eqns) // 2
  first, second = jaxpr.eqns[:middle], jaxpr.eqns[middle:]
  wanted = set(jaxpr.outvars)
  return [
    *_converted(part(program, first, {*wanted, *read(second)}), names),
    *_converted(part(program, second, wanted), names),
  ]


def _convert(program: ClosedJaxpr, names: Names) -> Any:
  """The converter's model of a program of few equations."""
  import onnx

  jaxpr = program.jaxpr
  inputs = [names[v] for v in jaxpr.invars]
  outputs = [names[v] for v in jaxpr.outvars]
  with _quiet():
    import jax2onnx

    # The converter replaces functions of jax and flax while it traces, and
    # knows fewer ways to call them than they do; these are traced already.
    model = jax2onnx.to_onnx(
      jaxpr_as_fun(program),
      inputs=[
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in jaxpr.invars
      ],
      input_names=inputs,
      output_names=outputs,
    )
  lost = {*outputs}.difference(*(node.output for node in model.graph.node))
  if lost:  # by one of its rewritings
    raise ValueError(f'the converter lost {len(lost)} of its results')
  # What this part names for itself, another may name so too.
  return onnx.compose.add_prefix(
    model, f'{outputs[0]}_', rename_inputs=False, rename_outputs=False
  )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """The converter tells of every optional package that it does not find."""
  log = logging.getLogger('jax2onnx')
  level, log.level = log.level, logging.CRITICAL
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      yield
  finally:
    log.level = level
