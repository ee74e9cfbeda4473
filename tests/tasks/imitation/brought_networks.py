"""Networks as somebody may bring them, for tests: one of linen, one of nnx."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx


class Maps(nn.Module):
  """A map of classes, and one of depth, at half the size."""

  @nn.compact
  def __call__(self, frames):
    x = nn.relu(nn.Conv(8, (3, 3), strides=2, name='first')(frames))
    x = nn.relu(nn.Conv(8, (3, 3), name='second')(x))
    x = nn.relu(nn.Conv(8, (3, 3), name='third')(x))
    return {
      'classes': nn.Conv(6, (1, 1), name='classes')(x),
      'depth': nn.Conv(1, (1, 1), name='depth')(x),
    }


class Edges(nnx.Module):
  """A probability at every pixel."""

  def __init__(self, features: int, *, rngs: nnx.Rngs):
    self.first = nnx.Conv(3, features, (3, 3), rngs=rngs)
    self.second = nnx.Conv(features, features, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(features, rngs=rngs)
    self.last = nnx.Conv(features, 1, (1, 1), rngs=rngs)

  def __call__(self, frames):
    x = nnx.relu(self.norm(self.second(nnx.relu(self.first(frames)))))
    return jax.nn.sigmoid(self.last(x))


def maps():
  return Maps()


def edges(features=8):
  return Edges(features, rngs=nnx.Rngs(0))


def prepare(frames):
  return frames.astype(jnp.float32) / 16 - 8


def draw(frame, outputs):
  return 255 - frame


def boxes(frame, outputs):
  return {
    'boxes': [[4, 4, 20, 30]],
    'scores': [0.9],
    'classes': [int(outputs['classes'].argmax() % 6)],
  }
