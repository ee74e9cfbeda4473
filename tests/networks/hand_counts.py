"""Multiply-accumulates of the networks on one frame, in closed form.

A convolution adds a bias to every element of its output, which counts; that of
a fully connected layer does not.
"""


def conv(pixels, taps, channels, features, bias=1):
  """One of `taps` pixels and as many channels a group."""
  return pixels * features * (taps * channels + bias)


def attention(queries, keys, width):
  """Its two products, all heads together."""
  return 2 * queries * keys * width


def convnext(rows, cols):
  def block(pixels, width):
    return conv(pixels, 49, 1, width) + 2 * pixels * width * 4 * width

  fine, coarse = rows * cols // 16, rows * cols // 64
  stem, down = conv(fine, 16, 3, 8), conv(coarse, 4, 8, 12)
  return stem + block(fine, 8) + down + block(coarse, 12) + 12 * 5


def mobilenet(rows, cols):
  def inverted(pixels, made, channels, taps, features):
    wide = 2 * channels
    return (
      conv(pixels, 1, channels, wide, 0)
      + conv(made, taps, 1, wide, 0)
      + 2 * wide * (wide // 4)
      + conv(made, 1, wide, features, 0)
    )

  half, quarter = rows * cols // 4, rows * cols // 16
  return (
    conv(half, 9, 3, 8, 0)
    + inverted(half, half, 8, 9, 8)
    + inverted(half, quarter, 8, 25, 12)
    + 12 * 16
    + 16 * 5
  )


def unet(rows, cols):
  def pair(pixels, channels, features):
    return conv(pixels, 9, channels, features) + conv(
      pixels, 9, features, features
    )

  fine, coarse = rows * cols, rows * cols // 4
  return (
    pair(fine, 3, 4)
    + conv(coarse, 4, 4, 8)
    + pair(coarse, 8, 8)
    # Every pixel that comes in meets 2x2 taps, every one that is made a bias.
    + coarse * 4 * 8 * 4
    + fine * 4
    + pair(fine, 8, 4)
    + conv(fine, 1, 4, 4)
  )


def vit(rows, cols):
  width, patches = 16, rows * cols // 64
  tokens = patches + 1
  layer = 4 * tokens * width**2 + attention(tokens, tokens, width)
  mlp = 2 * tokens * width * 2 * width
  return conv(patches, 64, 3, width) + 2 * (layer + mlp) + width * 5


def segformer(rows, cols):
  def layer(tokens, seen, width):
    projections = 2 * tokens * width**2 + 2 * seen * width**2
    mlp = 2 * tokens * width * 2 * width + conv(tokens, 9, 1, 2 * width)
    return projections + attention(tokens, seen, width) + mlp

  fine, coarse = rows * cols // 16, rows * cols // 64
  return (
    conv(fine, 49, 3, 8)
    + conv(coarse, 4, 8, 8)  # fewer tokens to attend to
    + layer(fine, coarse, 8)
    + conv(coarse, 9, 8, 12)
    + layer(coarse, coarse, 12)
    + fine * 8 * 8
    + coarse * 12 * 8
    + fine * 16 * 8
    + fine * 8 * 4
  )


def swin(rows, cols):
  tokens, width = rows * cols // 16, 8
  layer = 4 * tokens * width**2 + attention(tokens, 16, width)
  mlp = 2 * tokens * width * 2 * width
  merged = tokens // 4
  return (
    conv(tokens, 16, 3, width)
    + 2 * (layer + mlp)
    + merged * 4 * width * 12
    + merged * 12 * 4
  )
