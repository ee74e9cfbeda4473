"""Smoke configs that start in few seconds, for programs that start often.

Their networks have few layers, for each costs time to trace. All else is the
smoke variant's: data, losses, gates and their noise, optimizer, evaluation.
"""

import flax.linen as nn
import jax.numpy as jnp

from configs import demo_delta, demo_detection, demo_retrieval_coarse
from deltax import models
from deltax.layers.conv import conv2d
from deltax.layers.norm import BatchNorm

CONFIGS = {
  'delta': demo_delta,
  'detection': demo_detection,
  'retrieval': demo_retrieval_coarse,
}
STEPS = 6


class Segmenter(nn.Module):
  """Four convolutions, an eighth of the size."""

  num_classes: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames, train=False):
    x = frames
    for number in range(3):
      x = conv2d(8, 3, 2, name=f'conv{number}')(x)
      x = BatchNorm(
        use_running_average=not train,
        axis_name=self.axis_name,
        name=f'norm{number}',
      )(x)
      x = nn.relu(x)
    return conv2d(self.num_classes, 1, bias=True, name='last')(x)


class Detector(nn.Module):
  """The same with boxes, of one level."""

  num_classes: int
  levels: tuple[int, int] = (3, 3)
  octaves: int = 1
  aspects: tuple[tuple[float, float], ...] = ((1, 1),)
  anchor_scale: float = 2.5
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames, train=False):
    x = Segmenter(8, self.axis_name, name='backbone')(frames, train)
    x = conv2d(self.num_classes + 4, 1, bias=True, name='predict')(x)
    x = x.reshape(len(frames), -1, self.num_classes + 4)
    classes, boxes = jnp.split(x, [self.num_classes], -1)
    return {'classes': classes - 4, 'boxes': boxes}


def get_config(name: str):
  # Here, and not when the file is read: only the program that trains has them.
  models.MODELS['few_layers'] = models.Model(Segmenter, 'ddrnet')
  models.MODELS['few_layers_det'] = models.Model(Detector, 'ddrnet_det')
  config = CONFIGS[name].get_config('smoke')
  config.training.update(steps=STEPS, evaluate_every=STEPS // 2)
  if 'delta' in config.task:
    few = {'delta': 'few_layers', 'detection': 'few_layers_det'}
    config.task.model = few[name]
    with config.task.delta.unlocked():
      config.task.delta.intervals = (2,)
    scored = config.training.best.partition('/')[2]
    config.training.best = f'delta_2/{scored}'
  return config
