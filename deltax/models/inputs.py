"""What the networks are shown: pixels as they were trained on."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from deltax.errors import DeltaxError
from deltax.models import brought
from deltax.types import Array

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_SHAPES = ((2, 48, 64, 3), (1, 2, 48, 64, 3))  # frames, and a clip of some


def normalise(frames: Array) -> Array:
  """uint8 RGB, 0 to 255, to float32 of about zero mean and unit variance."""
  mean, std = (jnp.asarray(x, jnp.float32) * 255 for x in (MEAN, STD))
  axes = tuple(range(frames.ndim - 1))
  mean, std = jnp.expand_dims(mean, axes), jnp.expand_dims(std, axes)
  return (frames.astype(jnp.float32) - mean) / std


@dataclasses.dataclass(frozen=True)
class Preparation:
  """`(pixels * scale - mean) / std`, of red, green and blue or the reverse.

  Attributes:
    mean: of the three channels, in the order in which the network has them.
    std: theirs, likewise.
    scale: what a pixel of 0 to 255 is multiplied by, before all else.
    bgr: whether the network has blue first.

  Example:
    >>> half = Preparation(mean=(0.5,) * 3, std=(0.5,) * 3, scale=1 / 255)
    >>> half(jnp.array([[[0, 255, 255]]], jnp.uint8)).tolist()
    [[[-1.0, 1.0, 1.0]]]
  """

  mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
  std: tuple[float, float, float] = (1.0, 1.0, 1.0)
  scale: float = 1.0
  bgr: bool = False

  def __call__(self, frames: Array) -> Array:
    """uint8 RGB `[..., H, W, 3]` to float32 of the same shape."""
    frames = frames[..., ::-1] if self.bgr else frames
    axes = tuple(range(frames.ndim - 1))
    mean, std = (
      jnp.expand_dims(jnp.asarray(x, jnp.float32), axes)
      for x in (self.mean, self.std)
    )
    return (frames.astype(jnp.float32) * self.scale - mean) / std


def make_preparation(
  *,
  function: str = '',
  mean: Sequence[float] | float | None = None,
  std: Sequence[float] | float | None = None,
  scale: float | None = None,
  bgr: bool = False,
) -> Callable[[Array], Array]:
  """What makes of the frames of a video those that a network was trained on.

  With no arguments it is `normalise`, in the order of the channels that `bgr`
  says. As soon as one of `mean`, `std` and `scale` is given, those that are not
  are 0, 1 and 1: a mean of 0.485 with a scale of 1/255 is as PyTorch users
  write it, one of 123.68 without a scale as many files of Keras and Caffe have
  it.

  Args:
    function: `module:function` or `file.py:function` from uint8 RGB `[..., H,
      W, 3]` to floating-point `[..., H, W, C]`, written with `jax.numpy`; in
      place of all others.
    mean: subtracted, of pixels that are scaled already; one number, or three in
      the order in which the network has the channels.
    std: divided by after that, likewise.
    scale: what pixels, 0 to 255, are multiplied by first.
    bgr: whether the network has blue first.

  Returns:
    A pure function, which may be compared and hashed.

  Raises:
    DeltaxError: a number that is not finite, a wrong count of them, a `std` or
      `scale` of 0; a function beside other arguments, or one that cannot be
      found, cannot be traced, or gives something else than images of the same
      size.

  Example:
    >>> make_preparation(mean=(104, 117, 123), bgr=True)
    Preparation(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), scale=1.0, \
bgr=True)
  """
  given = {'mean': mean, 'std': std, 'scale': scale, 'bgr': bgr or None}
  named = [name for name, value in given.items() if value is not None]
  if function:
    if named:
      raise DeltaxError(
        f'frames are prepared by {function}: it stands in place of '
        f'{", ".join(named)}'
      )
    return _checked(function)
  if not named:
    return normalise
  if named == ['bgr']:
    return Preparation(MEAN[::-1], STD[::-1], 1 / 255, bgr=True)
  return Preparation(
    _three('mean', 0.0 if mean is None else mean),
    _three('std', 1.0 if std is None else std, zero=False),
    _three('scale', 1.0 if scale is None else scale, zero=False, most=1)[0],
    bgr,
  )


def _three(name, given, *, zero: bool = True, most: int = 3):
  """Three floats, from one or three numbers."""
  single = isinstance(given, numbers.Real)
  values = [given] if single else list(given)
  if len(values) not in {1, most}:
    counts = 'one number' if most == 1 else 'one number or three'
    raise DeltaxError(f'{name} has {len(values)} numbers, expected {counts}')
  try:
    values = [float(value) for value in values]
  except (TypeError, ValueError):
    values = [float('nan')]
  if not all(map(math.isfinite, values)):
    raise DeltaxError(f'{name} is {given}, expected finite numbers')
  if not zero and 0 in values:
    raise DeltaxError(f'{name} is {given}, expected no 0')
  return tuple(values * 3)[:3]


def _checked(name: str) -> Callable[[Array], Array]:
  """A function of the user's, if it does what is expected."""
  prepare = brought.function(name)
  for shape in _SHAPES:
    frames = jax.ShapeDtypeStruct(shape, jnp.uint8)
    try:
      made = jax.eval_shape(prepare, frames)
    except Exception as error:  # whatever its user wrote
      line = (str(error).strip() or type(error).__name__).splitlines()[0]
      raise DeltaxError(
        f'{name} cannot prepare uint8 frames {list(shape)} under jax: '
        f'{type(error).__name__}: {line[:200]}'
      ) from error
    if (
      not isinstance(made, jax.ShapeDtypeStruct)
      or made.shape[:-1] != shape[:-1]
      or not jnp.issubdtype(made.dtype, jnp.floating)
    ):
      given = (
        f'{made.dtype} {list(made.shape)}'
        if isinstance(made, jax.ShapeDtypeStruct)
        else f'a {type(made).__name__}'
      )
      raise DeltaxError(
        f'{name} makes {given} of uint8 frames {list(shape)}, expected '
        f'floating-point {list(shape)}'
      )
  return prepare
