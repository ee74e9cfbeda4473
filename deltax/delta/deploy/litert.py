"""Programs of JAX as LiteRT models, which were called TensorFlow Lite."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.export
from jax.extend.core import Jaxpr, Literal

from deltax.delta.deploy.onnx.program import called
from deltax.errors import DeltaxError

SIGNATURE = 'serving_default'


def to_litert(
  function: Callable,
  shapes: Sequence[jax.ShapeDtypeStruct],
  inputs: Sequence[str],
  outputs: Sequence[str],
) -> bytes:
  """A LiteRT model of a function of arrays, with one signature, `SIGNATURE`.

  Args:
    function: maps arrays to a list of arrays.
    shapes: of the arguments, none of them symbolic.
    inputs: names of the arguments.
    outputs: names of the results.

  Returns:
    The model, a flat buffer.

  Raises:
    DeltaxError: naming the layer and the operation that has no form in LiteRT;
      or a size is symbolic.
    ImportError: the package `litert-converter` is missing.
  """
  if not all(isinstance(n, int) for shape in shapes for n in shape.shape):
    raise DeltaxError(
      'a LiteRT model takes as many frames as it was made for, not any number'
    )
  try:
    return _converted(function, shapes, inputs, outputs)
  except ValueError as error:
    for layer, equation in _operations(jax.make_jaxpr(function)(*shapes).jaxpr):
      if not _has_form(equation):
        raise DeltaxError(
          f'{layer} has no form in LiteRT: the operation '
          f'{equation.primitive.name!r}'
        ) from error
    raise DeltaxError(f'the network has no form in LiteRT: {error}') from error


def _converted(function, shapes, inputs, outputs) -> bytes:
  from litert_converter import converter_api_ext as converter
  from litert_converter.mlir import ir, passmanager

  whole = jax.jit(function, keep_unused=True)  # every argument has its name
  traced = jax.export.export(whole, platforms=('cpu',))(*shapes)
  context = ir.Context()
  converter.prepare_mlir_context(context)
  with context:
    module = ir.Module.parse(traced.mlir_module())
    names = list(inputs), list(outputs)
    converter.set_signature(module.operation, SIGNATURE, *names)
    converter.run_convert_to_tfl_passes(
      module, passmanager.PassManager(), converter.ConvertToTFLConfig()
    )
    return bytes(converter.export_flatbuffer_to_bytes(module.operation))


def _operations(jaxpr: Jaxpr, layer: str = '') -> Iterator[tuple[str, Any]]:
  """Every equation that calls no function, and the layer that it is of."""
  for equation in jaxpr.eqns:
    named = layer or str(equation.source_info.name_stack)
    if (function := called(equation.params)) is not None:
      yield from _operations(function.jaxpr, named)
    else:
      yield named, equation


def _has_form(equation: Any) -> bool:
  shapes = [
    jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype)
    for variable in equation.invars
    if not isinstance(variable, Literal)
  ]

  def alone(*arrays):
    given = iter(arrays)
    made = equation.primitive.bind(
      *(
        v.val if isinstance(v, Literal) else next(given)
        for v in equation.invars
      ),
      **equation.params,
    )
    return made if equation.primitive.multiple_results else [made]

  try:
    _converted(
      *(alone, shapes),
      [f'x{i}' for i, _ in enumerate(shapes)],
      [f'y{i}' for i, _ in enumerate(equation.outvars)],
    )
  except ValueError:
    return False
  return True
