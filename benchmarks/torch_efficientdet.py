"""EfficientDet-D0 in plain PyTorch: what ours computes, deployed.

The heads' batch norms differ by level while their convolutions do not, so they
cannot be folded.
"""

import functools

import torch
import torch.nn.functional as F
from torch import nn

EPSILON, LEVELS, ANCHORS = 1e-3, 5, 9
# Blocks, kernel, stride, expansion and width of the stages of the backbone.
STAGES = (
  (1, 3, 1, 1, 16),
  (2, 3, 2, 6, 24),
  (2, 5, 2, 6, 40),
  (3, 3, 2, 6, 80),
  (3, 5, 1, 6, 112),
  (4, 5, 2, 6, 192),
  (1, 3, 1, 6, 320),
)
TAPS = (2, 4, 6)
# Level and inputs of each node of a cell; nodes 0-4 are the cell's inputs.
NODES = (
  (3, (3, 4)),
  (2, (2, 5)),
  (1, (1, 6)),
  (0, (0, 7)),
  (1, (1, 7, 8)),
  (2, (2, 6, 9)),
  (3, (3, 5, 10)),
  (4, (4, 11)),
)


def silu_(x):
  return F.silu(x, inplace=True)


def padded(x, kernel, stride, value=0.0):
  """Padding as TensorFlow's 'SAME': below and to the right first."""
  pads = []
  for n in (x.shape[-1], x.shape[-2]):
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    pads += [total // 2, total - total // 2]
  return F.pad(x, pads, value=value)


def max_pool(x):
  return F.max_pool2d(padded(x, 3, 2, float('-inf')), 3, 2)


class SameConv(nn.Conv2d):
  def forward(self, x):
    return super().forward(padded(x, self.kernel_size[0], self.stride[0]))


def depthwise(channels, kernel=3, stride=1, bias=True):
  if stride == 1:
    return nn.Conv2d(
      channels, channels, kernel, 1, kernel // 2, groups=channels, bias=bias
    )
  return SameConv(
    channels, channels, kernel, stride, groups=channels, bias=bias
  )


class SqueezeExcite(nn.Module):
  def __init__(self, channels, planes):
    super().__init__()
    self.conv_reduce = nn.Conv2d(channels, planes, 1)
    self.conv_expand = nn.Conv2d(planes, channels, 1)

  def forward(self, x):
    y = silu_(self.conv_reduce(x.mean((2, 3), keepdim=True)))
    return x * torch.sigmoid(self.conv_expand(y))


class InvertedResidual(nn.Module):
  def __init__(self, inputs, outputs, kernel, stride, expand):
    super().__init__()
    width = inputs * expand
    self.expands = expand > 1
    if self.expands:
      self.conv_pw = nn.Conv2d(inputs, width, 1)
      self.conv_pwl = nn.Conv2d(width, outputs, 1)
    else:
      self.conv_pw = nn.Conv2d(width, outputs, 1)
    self.conv_dw = depthwise(width, kernel, stride)
    self.se = SqueezeExcite(width, inputs // 4)
    self.shortcut = stride == 1 and inputs == outputs

  def forward(self, x):
    y = silu_(self.conv_pw(x)) if self.expands else x
    y = self.se(silu_(self.conv_dw(y)))
    y = self.conv_pwl(y) if self.expands else self.conv_pw(y)
    return y.add_(x) if self.shortcut else y


class Backbone(nn.Module):
  def __init__(self):
    super().__init__()
    self.conv_stem = SameConv(3, 32, 3, 2)
    stages, width = [], 32
    for count, kernel, stride, expand, outputs in STAGES:
      blocks = []
      for i in range(count):
        blocks.append(
          InvertedResidual(width, outputs, kernel, 1 if i else stride, expand)
        )
        width = outputs
      stages.append(nn.Sequential(*blocks))
    self.blocks = nn.Sequential(*stages)

  def forward(self, x):
    x, maps = silu_(self.conv_stem(x)), []
    for stage in self.blocks:
      x = stage(x)
      maps.append(x)
    return [maps[i] for i in TAPS]


class Project(nn.Module):
  def __init__(self, inputs, outputs):
    super().__init__()
    self.conv = nn.Conv2d(inputs, outputs, 1)

  def forward(self, x):
    return self.conv(x)


class Resample(nn.Module):
  def __init__(self, inputs, features):
    super().__init__()
    same = inputs == features
    self.conv = nn.Identity() if same else Project(inputs, features)

  def forward(self, x, size):
    x = self.conv(x)
    if x.shape[-2] > size[0] or x.shape[-1] > size[1]:
      return max_pool(x)
    if x.shape[-2:] == size:
      return x
    doubled = F.interpolate(x, scale_factor=2, mode='nearest')
    return doubled[..., : size[0], : size[1]]


class Separable(nn.Module):
  def __init__(self, inputs, outputs, bias=False):
    super().__init__()
    self.conv_dw = depthwise(inputs, bias=bias)
    self.conv_pw = nn.Conv2d(inputs, outputs, 1)

  def forward(self, x):
    return self.conv_pw(self.conv_dw(x))


class Combine(nn.Module):
  def __init__(self, widths, features, offsets):
    super().__init__()
    self.edge_weights = nn.Parameter(torch.ones(len(offsets)))
    self.resample = nn.ModuleDict(
      {str(i): Resample(widths[i], features) for i in offsets}
    )
    self.offsets = offsets

  def forward(self, nodes, size):
    weights = F.relu(self.edge_weights)
    weights = weights / (weights.sum() + 1e-4)
    parts = (
      weight * self.resample[str(offset)](nodes[offset], size)
      for weight, offset in zip(weights, self.offsets, strict=True)
    )
    return functools.reduce(torch.add, parts)


class AfterCombine(nn.Module):
  def __init__(self, features):
    super().__init__()
    self.conv = Separable(features, features)

  def forward(self, x):
    return self.conv(silu_(x))


class Node(nn.Module):
  def __init__(self, widths, features, offsets):
    super().__init__()
    self.combine = Combine(widths, features, offsets)
    self.after_combine = AfterCombine(features)

  def forward(self, nodes, size):
    return self.after_combine(self.combine(nodes, size))


class Cell(nn.Module):
  def __init__(self, widths, features):
    super().__init__()
    widths = [*widths, *(features for _ in NODES)]
    self.fnode = nn.ModuleList(
      Node(widths, features, offsets) for _, offsets in NODES
    )

  def forward(self, levels):
    nodes = list(levels)
    for node, (level, _) in zip(self.fnode, NODES, strict=True):
      nodes.append(node(nodes, levels[level].shape[-2:]))
    return nodes[-LEVELS:]


class Pyramid(nn.Module):
  def __init__(self, widths, features, cells):
    super().__init__()
    added = range(len(widths), LEVELS)
    first = len(widths)
    self.resample = nn.ModuleDict(
      {
        str(i): Resample(widths[-1] if i == first else features, features)
        for i in added
      }
    )
    widths = [*widths, *(features for _ in added)]
    self.cell = nn.ModuleList(
      Cell([features] * LEVELS if i else widths, features) for i in range(cells)
    )

  def forward(self, levels):
    levels = list(levels)
    for resample in self.resample.values():
      size = tuple(-(-n // 2) for n in levels[-1].shape[-2:])
      levels.append(resample(levels[-1], size))
    for cell in self.cell:
      levels = cell(levels)
    return levels


class LevelNorm(nn.Module):
  def __init__(self, features):
    super().__init__()
    self.bn = nn.BatchNorm2d(features, EPSILON)

  def forward(self, x):
    return self.bn(x)


class Head(nn.Module):
  def __init__(self, features, outputs, repeats):
    super().__init__()
    self.conv_rep = nn.ModuleList(
      Separable(features, features) for _ in range(repeats)
    )
    self.bn_rep = nn.ModuleList(
      nn.ModuleList(LevelNorm(features) for _ in range(LEVELS))
      for _ in range(repeats)
    )
    self.predict = Separable(features, outputs)

  def forward(self, levels):
    found = []
    for number, x in enumerate(levels):
      for conv, norms in zip(self.conv_rep, self.bn_rep, strict=True):
        x = silu_(norms[number](conv(x)))
      found.append(self.predict(x))
    return found


class EfficientDet(nn.Module):
  def __init__(self, num_classes, features=64, cells=3, repeats=3):
    super().__init__()
    self.num_classes = num_classes
    widths = [STAGES[i][-1] for i in TAPS]
    self.backbone = Backbone()
    self.fpn = Pyramid(widths, features, cells)
    self.class_net = Head(features, ANCHORS * num_classes, repeats)
    self.box_net = Head(features, ANCHORS * 4, repeats)

  def forward(self, x):
    levels = self.fpn(self.backbone(x))
    return {
      'classes': joined(self.class_net(levels), self.num_classes),
      'boxes': joined(self.box_net(levels), 4),
    }


def joined(maps, size):
  flat = [x.permute(0, 2, 3, 1).reshape(len(x), -1, size) for x in maps]
  return torch.cat(flat, 1)
