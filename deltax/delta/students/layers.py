"""Student candidates: what may stand in for a convolution on later frames.

A candidate is a small pure object: `init` makes its parameters from the
teacher's kernel, `apply` maps the change of the layer's input to the change of
its output, `macs` prices it. All are linear, up to a bias that only loaded
checkpoints have. Here are the convolution's own forms; narrower ones are in
`deltax.delta.students.narrow`, coarser ones in `deltax.delta.students.coarse`.
"""

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.units import Layer, NoStart, conv_macs
from deltax.layers import forms
from deltax.layers.conv import fast_conv
from deltax.types import Array


class Candidate(Protocol):
  """What `deltax.delta.Spec` takes as a candidate.

  Attributes:
    first_kernel: for `deltax.delta.fit`, and may be missing: name of the kernel
      `[kh, 1, C, R]` or `[1, 1, C, R]` that reads the input.
    last_kernel: likewise, of the kernel `[..., N]` in which the output is
      linear.
  """

  @property
  def name(self) -> str:
    """Names the candidate's parameters, unique within a layer."""

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    """Parameters from the teacher's `[kh, kw, C, N]` kernel, in its type.

    Args:
      kernel: of the teacher.
      layer: the convolution; a fully connected layer comes as a 1x1 one.

    Raises:
      NoStart: the layer cannot have this candidate, which is left out for it.
    """

  def apply(self, params: Any, x: Array, layer: Layer) -> Array:
    """`[B, H, W, C]` change of the input to `[B, H', W', N]`, with no bias."""

  def scale(self, params: Any, factor: Array) -> dict[str, Array]:
    """Parameters whose output is multiplied by the `[N]` factor."""

  def macs(self, layer: Layer) -> int:
    """Multiply-accumulates of one frame."""


@dataclasses.dataclass(frozen=True)
class Full:
  """A copy of the convolution, with weights of its own."""

  last_kernel = 'kernel'

  @property
  def name(self) -> str:
    return 'full'

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    del layer
    return {'kernel': jnp.array(kernel)}

  def apply(self, params: Any, x: Array, layer: Layer) -> Array:
    return layer.convolve(params['kernel'], x)

  def scale(self, params: Any, factor: Array) -> dict[str, Array]:
    return {'kernel': params['kernel'] * factor.reshape(1, 1, 1, -1)}

  def macs(self, layer: Layer) -> int:
    return layer.macs(bias=False)


@dataclasses.dataclass(frozen=True)
class Teacher(Full):
  """The teacher's convolution itself: exact, and without weights of its own.

  It has no parameters; whoever applies it hands over the teacher's kernel. As a
  candidate for a block it is the block itself, which is not applied but run.
  """

  last_kernel = ''

  @property
  def name(self) -> str:
    return 'teacher'

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    del kernel, layer
    return {}


@dataclasses.dataclass(frozen=True)
class Skip:
  """No change since the reference frame, which costs nothing."""

  @property
  def name(self) -> str:
    return 'skip'

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    del kernel, layer
    return {}

  def apply(self, params: Any, x: Array, layer: Layer) -> Array:
    del params
    return jnp.zeros((x.shape[0], *layer.outputs), x.dtype)

  def scale(self, params: Any, factor: Array) -> dict[str, Array]:
    del factor
    return dict(params)

  def macs(self, layer: Layer) -> int:
    del layer
    return 0


@dataclasses.dataclass(frozen=True)
class Within(Skip):
  """A convolution whose work the student of a span takes over."""


def is_teacher(candidate: Any) -> bool:
  """Whether a candidate is the teacher's own layer or block."""
  return isinstance(candidate, Teacher)


def is_within(candidate: Any) -> bool:
  """Whether a candidate leaves a layer's work to a span's student."""
  return isinstance(candidate, Within)


@dataclasses.dataclass(frozen=True)
class LowRank:
  """A (kh x 1) and a (1 x kw) convolution through a bottleneck of R channels.

  Starts as the best approximation of the teacher's kernel with R components
  (singular value decomposition). R is cut to what the kernel allows.

  Source: Habibian et al., ECCV 2022, section 3.2 and figure 3.

  Attributes:
    factor: how much narrower the bottleneck is.
    policy: 'out': R is the output channels over `factor`; 'min': the smaller of
      input and output channels over `factor`. Layers too narrow to divide keep
      their width.

  Raises:
    ValueError: for another policy, or a factor below 1.
  """

  factor: int = 4
  policy: str = 'out'
  first_kernel = 'first'
  last_kernel = 'second'

  def __post_init__(self):
    if self.policy not in ('out', 'min'):
      raise ValueError(
        f"no low-rank policy {self.policy!r}; known: 'out', 'min'"
      )
    if self.factor < 1:
      raise ValueError(f'a low-rank factor is at least 1, got {self.factor}')

  @property
  def name(self) -> str:
    return f'low_rank_{self.factor}_{self.policy}'

  def rank(self, layer: Layer) -> int:
    """R, the width of the bottleneck."""
    kh, kw, channels, features = layer.kernel
    if self.policy == 'out':
      width = features
      rank = width // self.factor if width > self.factor else width
    else:
      width = min(channels, features)
      rank = width // self.factor if width >= self.factor else width
    return min(rank, channels * kh, features * kw)

  def init(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    check_dense(layer, 'low-rank')
    first, second = _spatial_svd(kernel, self.rank(layer))
    return {'first': first, 'second': second}

  def nearest(self, kernel: Array, layer: Layer) -> dict[str, Array]:
    """As `init` of a float64 kernel, many times faster; to half the digits."""
    kh, kw, channels, features = kernel.shape
    matrix = np.transpose(kernel, (0, 2, 1, 3)).reshape(kh * channels, -1)
    if matrix.shape[0] <= matrix.shape[1]:
      left = np.linalg.eigh(matrix @ matrix.T)[1][:, ::-1]
      left = left[:, : self.rank(layer)]
      right = left.T @ matrix
    else:
      right = np.linalg.eigh(matrix.T @ matrix)[1][:, ::-1].T
      right = right[: self.rank(layer)]
      left = matrix @ right.T
    second = right.reshape(-1, kw, features).swapaxes(0, 1)[None]
    return {'first': left.reshape(kh, 1, channels, -1), 'second': second}

  def apply(self, params: Any, x: Array, layer: Layer) -> Array:
    (stride_y, stride_x), (dilation_y, dilation_x) = (
      layer.strides,
      layer.dilation,
    )
    x = fast_conv(
      x,
      params['first'],
      (stride_y, 1),
      (layer.padding[0], (0, 0)),
      lhs_dilation=(layer.input_dilation[0], 1),
      rhs_dilation=(dilation_y, 1),
    )
    return fast_conv(
      x,
      params['second'],
      (1, stride_x),
      ((0, 0), layer.padding[1]),
      lhs_dilation=(1, layer.input_dilation[1]),
      rhs_dilation=(1, dilation_x),
    )

  def scale(self, params: Any, factor: Array) -> dict[str, Array]:
    second = params['second'] * factor.reshape(1, 1, 1, -1)
    return {'first': params['first'], 'second': second}

  def macs(self, layer: Layer) -> int:
    kh, kw, channels, features = layer.kernel
    rank = self.rank(layer)
    (in_rows, in_cols, _), (rows, cols, _) = layer.inputs, layer.outputs
    if layer.transposed:
      first_rows, second_cols = in_rows, in_cols
    else:
      first_rows, second_cols = rows, cols
    first = conv_macs((kh, 1, channels, rank), (first_rows, in_cols, rank))
    second = conv_macs((1, kw, rank, features), (rows, second_cols, features))
    return first + second


@functools.partial(jax.jit, static_argnums=1)
def _spatial_svd(kernel: Array, rank: int) -> tuple[Array, Array]:
  """The pair of kernels nearest to one, `[kh, 1, C, R]` and `[1, kw, R, N]`."""
  kh, kw, channels, features = kernel.shape
  matrix = kernel.transpose(2, 0, 3, 1).reshape(channels * kh, -1)
  # In float64, but for TPUs: where singular values are close, float32 may lose
  # all but four digits of the product, and how many depends on the machine.
  exact = jnp.float32 if forms.target() == 'tpu' else jnp.float64
  with jax.enable_x64(True):
    left, values, right = jnp.linalg.svd(
      matrix.astype(exact), full_matrices=False
    )
    root = jnp.sqrt(values[:rank])
    first = (left[:, :rank] * root[None]).astype(kernel.dtype)
    second = (root[:, None] * right[:rank]).astype(kernel.dtype)
  first = first.reshape(channels, kh, 1, rank)
  second = second.reshape(rank, features, 1, kw)
  return first.transpose(1, 2, 0, 3), second.transpose(2, 3, 0, 1)


def check_dense(layer: Layer, what: str) -> None:
  """Raises a `NoStart` for a grouped convolution."""
  if layer.groups != 1:
    raise NoStart(f'a convolution of {layer.groups} groups has no {what} start')
