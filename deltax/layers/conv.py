"""One convolution for every network: plain `nn.Conv`, run in its fastest form.

Networks stay made of `nn.Conv` modules, so that a transform or a converter sees
ordinary convolutions; speed comes in through their `conv_general_dilated`
argument. Activations are NHWC, kernels HWIO, everywhere.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from deltax.layers import cpu, forms
from deltax.layers.depthwise import depthwise, sum_of_shifted
from deltax.layers.windows import explicit_padding, output_size, taps
from deltax.types import Array

_FEW_PLACES = 32  # output pixels up to which a matrix product is faster
_NHWC = ('NHWC', 'HWIO', 'NHWC')


def conv2d(
  features: int,
  kernel: int = 3,
  stride: int = 1,
  *,
  dilation: int = 1,
  groups: int = 1,
  bias: bool = False,
  same: bool = False,
  bias_init: nn.initializers.Initializer = nn.initializers.zeros,
  name: str | None = None,
) -> nn.Conv:
  """A square `nn.Conv` with symmetric padding, as PyTorch networks have it.

  Args:
    features: output channels.
    kernel: kernel size; the padding is `dilation * (kernel // 2)` zeros on
      every side, which keeps the size at stride 1.
    stride: stride of rows and columns.
    dilation: spacing of the kernel's taps.
    groups: feature groups; `groups == channels` is a depthwise convolution.
    bias: whether the convolution adds a bias.
    same: whether to pad as TensorFlow's 'SAME' instead, which at a stride of 2
      puts fewer zeros above and to the left than below and to the right.
    bias_init: start of the bias.
    name: name of the submodule.

  Returns:
    The module: `[B, H, W, C]` to `[B, ceil(H / stride), ceil(W / stride), N]`.
  """
  pad = dilation * (kernel // 2)
  return nn.Conv(
    features,
    (kernel, kernel),
    strides=(stride, stride),
    padding='SAME' if same else ((pad, pad), (pad, pad)),
    kernel_dilation=(dilation, dilation),
    feature_group_count=groups,
    use_bias=bias,
    bias_init=bias_init,
    kernel_init=nn.initializers.variance_scaling(
      2.0 * groups, 'fan_out', 'normal'
    ),
    conv_general_dilated=fast_conv,
    name=name,
  )


def fast_conv(
  lhs: Array,
  rhs: Array,
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  lhs_dilation: Sequence[int] | None = None,
  rhs_dilation: Sequence[int] | None = None,
  dimension_numbers: lax.ConvDimensionNumbers | None = None,
  feature_group_count: int = 1,
  precision: lax.PrecisionLike = None,
) -> Array:
  """`lax.conv_general_dilated` for NHWC images, in the form that is fastest.

  Which that is depends on what a program is traced for (`deltax.layers.forms`);
  for converters to other formats it is `lax` itself. Elsewhere a 1x1
  convolution without stride becomes a matrix product, a depthwise one a sum of
  shifted products. On CPU, a 1x1 one with stride and one with few output pixels
  become products too, and the gradients of any other are written in the layout
  that XLA runs fast inside `lax.scan` and `lax.cond` as well. Whatever else is
  asked for (groups, input dilation, other layouts) goes to `lax` unchanged.

  Args:
    lhs: `[B, H, W, C]` input.
    rhs: `[kh, kw, C / groups, N]` kernel.
    window_strides: strides of rows and columns.
    padding: 'SAME', 'VALID' or ((top, bottom), (left, right)) zeros.
    lhs_dilation: input dilation.
    rhs_dilation: kernel dilation.
    dimension_numbers: as `lax` takes them; NHWC, HWIO when absent.
    feature_group_count: feature groups.
    precision: of the products.

  Returns:
    `[B, H', W', N]` output.
  """
  target = forms.target()
  strides = tuple(window_strides)
  dilation = tuple(rhs_dilation or (1,) * len(strides))
  ordinary = (
    lhs.ndim == 4
    and set(lhs_dilation or (1,)) == {1}
    and (dimension_numbers is None or _is_nhwc(dimension_numbers, lhs, rhs))
  )
  per_channel = feature_group_count == lhs.shape[-1] == rhs.shape[-1] > 1
  dense = feature_group_count == 1
  as_it_is = forms.converted() or not ordinary
  if as_it_is or not (dense or per_channel):
    return lax.conv_general_dilated(
      lhs,
      rhs,
      strides,
      padding,
      lhs_dilation=lhs_dilation,
      rhs_dilation=dilation,
      dimension_numbers=dimension_numbers or _NHWC,
      feature_group_count=feature_group_count,
      precision=precision,
    )
  pads = explicit_padding(padding, lhs.shape, rhs.shape, strides, dilation)
  if per_channel:
    form = depthwise if target == 'cpu' else sum_of_shifted
    return form(lhs, rhs, strides, pads, dilation)
  one_by_one = rhs.shape[:2] == (1, 1) and pads == ((0, 0), (0, 0))
  # XLA for GPUs (0.11) ends the process over a product of every second pixel.
  if one_by_one and (strides == (1, 1) or target == 'cpu'):
    lhs = lhs[:, :: strides[0], :: strides[1]]
    # Of rows of pixels: the gradient of a product over three axes transposes.
    pixels = lhs.reshape(-1, lhs.shape[-1])
    out = jnp.matmul(pixels, rhs[0, 0], precision=precision)
    return out.reshape(*lhs.shape[:-1], -1)
  rows, cols = output_size(lhs.shape, rhs.shape, strides, pads, dilation)
  if rows * cols <= _FEW_PLACES and target in ('cpu', forms.PORTABLE):
    form = _as_product
  else:
    form = _canonical if target == 'cpu' else _plain
  return form(lhs, rhs, strides, pads, dilation, precision)


def _is_nhwc(dimension_numbers, lhs: Array, rhs: Array) -> bool:
  def spec(numbers):
    return lax.conv_dimension_numbers(lhs.shape, rhs.shape, numbers)

  return spec(dimension_numbers) == spec(_NHWC)


# XLA's CPU convolution is up to 30 times slower than this on maps of a few
# pixels, and its gradients are.
def _as_product(x, kernel, strides, pads, dilation, precision):
  seen = taps(x, kernel, strides, pads, dilation)
  patches = jnp.concatenate(list(seen), -1)
  weights = kernel.reshape(-1, kernel.shape[-1])
  return jnp.matmul(patches, weights, precision=precision)


def _plain(
  x, kernel, strides, pads, dilation, precision, input_dilation=(1, 1)
):
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    pads,
    lhs_dilation=input_dilation,
    rhs_dilation=dilation,
    dimension_numbers=_NHWC,
    precision=precision,
  )


# On CPU, XLA brings convolutions into the layout of its fast kernel only at the
# top of a program: in the body of a scan or a cond, the two convolutions of a
# gradient run in a naive loop, up to 65 times slower. Here both are written in
# that layout to begin with; the barriers keep XLA from undoing it.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _canonical(x, kernel, strides, pads, dilation, precision):
  return cpu.convolve(x, kernel, strides, pads, dilation, precision)


def _canonical_forward(x, kernel, strides, pads, dilation, precision):
  # Else the gradient's transpose computes it again, column by column.
  x = cpu.computed_once(x)
  # In the usual form: the faster ones round otherwise, which over the many
  # layers of a training step is more than the published losses allow.
  return _plain(x, kernel, strides, pads, dilation, precision), (x, kernel)


def _canonical_backward(strides, pads, dilation, precision, saved, grad):
  x, kernel = saved
  extent = [
    (k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)
  ]
  spread = [
    (n - 1) * s + 1 for n, s in zip(grad.shape[1:3], strides, strict=True)
  ]
  x_pads, kernel_pads = [], []
  for axis in range(2):
    size, low = x.shape[1 + axis], pads[axis][0]
    before = extent[axis] - 1 - low
    after = size - spread[axis] - before + extent[axis] - 1
    x_pads.append((before, after))
    kernel_pads.append((low, extent[axis] - 1 + spread[axis] - size - low))
  barrier = lax.optimization_barrier
  flipped = barrier(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
  x_grad = _plain(
    grad, flipped, (1, 1), x_pads, dilation, precision, input_dilation=strides
  )
  kernel_grad = _plain(
    barrier(x.transpose(3, 1, 2, 0)),
    barrier(grad.transpose(1, 2, 0, 3)),
    dilation,
    kernel_pads,
    strides,
    precision,
  ).transpose(1, 2, 0, 3)
  return x_grad, kernel_grad


_canonical.defvjp(_canonical_forward, _canonical_backward)
