"""Milliseconds of a training step beside those of PyTorch.

    python benchmarks/step.py --networks ddrnet23_slim --size 128x256 --batch 4

Forward alone, and forward and backward, of cross-entropy on drawn frames, with
batch norms in training; the optimizer is left out. PyTorch's network has a
batch norm behind every convolution. On one core; what is compared takes turns,
after a warm-up, and figures are medians of the process' CPU time.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
import torch_ddrnet
import torch_networks
from delta import pinned
from delta_measure import timed
from retrieval import processor

from deltax import compilation, models
from deltax.commands.sizes import read_size
from deltax.layers import resize_bilinear

CLASSES = 11


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  known = [name for name in torch_networks.NETWORKS if name.startswith('ddr')]
  parser.add_argument('--networks', nargs='+', choices=known, default=known[:1])
  parser.add_argument('--size', default='128x256')
  parser.add_argument('--batch', type=int, default=4)
  parser.add_argument('--repeats', type=int, default=9)
  options = parser.parse_args()
  compilation.keep_memory()
  torch.set_num_threads(1)
  print(f'{processor()}, jax {jax.__version__}, PyTorch {torch.__version__}')
  draw = np.random.default_rng(0)
  shape = options.batch, *read_size(options.size)
  frames = draw.standard_normal((*shape, 3), np.float32)
  labels = draw.integers(0, CLASSES, shape)
  with pinned(1):
    for name in options.networks:
      functions = ours(name, frames, labels) | theirs(name, frames, labels)
      for part, ms in timed(functions, options.repeats).items():
        print(f'{name}, {part}: {ms["cpu"]:.1f} ms', flush=True)


def ours(name, frames, labels):
  net = models.create(name, num_classes=CLASSES)
  variables = jax.jit(net.init)(jax.random.key(0), frames)

  def loss(params, frames, labels):
    out, changed = net.apply(
      {**variables, 'params': params},
      *(frames, True),
      mutable=['batch_stats'],
    )
    logits = resize_bilinear(out, labels.shape[1:])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), changed

  forward = jax.jit(loss)
  both = jax.jit(jax.value_and_grad(loss, has_aux=True))
  given = variables['params'], jnp.asarray(frames), jnp.asarray(labels)
  return {
    'forward': lambda: jax.block_until_ready(forward(*given)),
    'forward and backward': lambda: jax.block_until_ready(both(*given)),
  }


def theirs(name, frames, labels):
  torch_ddrnet.relu_ = F.relu  # what is overwritten has no gradient
  net = with_norms(torch_networks.create(name, CLASSES)).train()
  net = net.requires_grad_(True).to(memory_format=torch.channels_last)
  given, labels = torch_networks.to_torch(frames), torch.from_numpy(labels)

  def loss():
    logits = F.interpolate(net(given), labels.shape[1:], mode='bilinear')
    return F.cross_entropy(logits, labels)

  def both():
    net.zero_grad()
    loss().backward()

  return {"PyTorch's forward": loss, "PyTorch's forward and backward": both}


def with_norms(module):
  """A batch norm behind every convolution of a module."""
  for name, child in module.named_children():
    if isinstance(child, torch.nn.Conv2d):
      norm = torch.nn.BatchNorm2d(child.out_channels)
      setattr(module, name, torch.nn.Sequential(child, norm))
    else:
      with_norms(child)
  return module


if __name__ == '__main__':
  main()
