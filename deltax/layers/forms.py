"""Which form the layers of a program are written in.

Several layers have more than one form, equal up to rounding: XLA runs a
convolution of few pixels faster as a matrix product, and resizing faster as
shifted slices than as a gather. Which form is best depends on where a program
runs. That is this machine, unless `forms_for` says otherwise; whoever writes a
program for another machine traces it in that context.
"""

import contextlib
import os
from collections.abc import Iterator

import jax

PORTABLE = 'portable'
PLAIN = 'plain'
LITERT = 'litert'

# One that jax knows of: what `jax.jit` has traced for one target is never taken
# for another.
_TARGET = jax.make_user_context(None)


@contextlib.contextmanager
def forms_for(target: str) -> Iterator[None]:
  """Layers that are traced in this context take the forms for a target.

  Args:
    target: `PORTABLE`: forms that XLA compiles well for every platform.
      `PLAIN`: one operation a layer where there is one (a convolution, a
      gather), which converters to other formats know. `LITERT`: what LiteRT
      has fast kernels for. Or the name of a backend of JAX ('cpu', 'gpu',
      'tpu').

  Example:
    >>> with forms_for(PLAIN):
    ...   target()
    'plain'
  """
  with _TARGET(target):
    yield


def target() -> str:
  """What programs are traced for now: see `forms_for`."""
  return _TARGET.value or jax.default_backend()


def converted() -> bool:
  """Whether a program is for a converter, which knows operations as they are.

  Example:
    >>> with forms_for(LITERT):
    ...   converted()
    True
  """
  return target() in (PLAIN, LITERT)


def cores() -> int:
  """Cores that programs are traced for: this process' own.

  One for another machine's programs: nothing is known of it.
  """
  if _TARGET.value:
    return 1
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
