"""DDRNet in plain PyTorch: what `deltax.models.ddrnet` computes, deployed.

`nn.Identity` stands where a batch norm was folded into the convolution before,
so that the numbers of the released checkpoints are kept.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, kernel=3, stride=1, bias=True):
  return nn.Conv2d(
    inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias
  )


def shortcut(inputs, outputs, stride):
  if stride == 1 and inputs == outputs:
    return nn.Identity()
  return nn.Sequential(conv(inputs, outputs, 1, stride))


def relu_(x):
  return F.relu(x, inplace=True)


def resized(x, size):
  if x.shape[-2:] == size:
    return x
  return F.interpolate(x, size, mode='bilinear', align_corners=False)


class BasicBlock(nn.Module):
  def __init__(self, inputs, planes, stride=1, relu=True):
    super().__init__()
    self.conv1 = conv(inputs, planes, stride=stride)
    self.conv2 = conv(planes, planes)
    self.downsample = shortcut(inputs, planes, stride)
    self.relu = relu

  def forward(self, x):
    y = self.conv2(relu_(self.conv1(x)))
    y += self.downsample(x)
    return relu_(y) if self.relu else y


class Bottleneck(nn.Module):
  def __init__(self, inputs, planes, expansion=2, stride=1, relu=False):
    super().__init__()
    self.conv1 = conv(inputs, planes, 1)
    self.conv2 = conv(planes, planes, stride=stride)
    self.conv3 = conv(planes, expansion * planes, 1)
    self.downsample = shortcut(inputs, expansion * planes, stride)
    self.relu = relu

  def forward(self, x):
    y = self.conv3(relu_(self.conv2(relu_(self.conv1(x)))))
    y += self.downsample(x)
    return relu_(y) if self.relu else y


def stage(inputs, planes, blocks, stride=1):
  return nn.Sequential(
    *(
      BasicBlock(
        planes if i else inputs,
        planes,
        1 if i else stride,
        relu=i < blocks - 1,
      )
      for i in range(blocks)
    )
  )


def unit(inputs, outputs, kernel=1):
  """Batch norm, ReLU and a convolution; the norm comes first, and stays."""
  norm = nn.BatchNorm2d(inputs)
  return norm, nn.ReLU(inplace=True), conv(inputs, outputs, kernel, bias=False)


class PyramidPooling(nn.Module):
  def __init__(self, inputs, planes, outputs):
    super().__init__()
    for i, (k, s) in enumerate(((5, 2), (9, 4), (17, 8)), start=1):
      pool = nn.AvgPool2d(k, s, k // 2)
      setattr(self, f'scale{i}', nn.Sequential(pool, *unit(inputs, planes)))
    pool = nn.AdaptiveAvgPool2d(1)
    self.scale4 = nn.Sequential(pool, *unit(inputs, planes))
    self.scale0 = nn.Sequential(*unit(inputs, planes))
    for i in range(1, 5):
      setattr(self, f'process{i}', nn.Sequential(*unit(planes, planes, 3)))
    self.compression = nn.Sequential(*unit(5 * planes, outputs))
    self.shortcut = nn.Sequential(*unit(inputs, outputs))

  def forward(self, x):
    levels = [self.scale0(x)]
    for i in range(1, 5):
      y = resized(getattr(self, f'scale{i}')(x), x.shape[-2:])
      levels.append(getattr(self, f'process{i}')(y + levels[-1]))
    return self.compression(torch.cat(levels, 1)) + self.shortcut(x)


class Head(nn.Module):
  def __init__(self, inputs, planes, classes):
    super().__init__()
    self.bn1 = nn.BatchNorm2d(inputs)
    self.conv1 = conv(inputs, planes)
    self.conv2 = conv(planes, classes, 1)

  def forward(self, x):
    return self.conv2(relu_(self.conv1(relu_(self.bn1(x)))))


class DDRNet(nn.Module):
  def __init__(
    self,
    num_classes,
    planes=32,
    head_planes=64,
    spp_planes=128,
    blocks=(2, 2, (2,), 2),
  ):
    super().__init__()
    p, high = planes, 2 * planes
    first, second, middle, last = blocks
    self.conv1 = nn.Sequential(
      conv(3, p, stride=2),
      nn.Identity(),
      nn.ReLU(inplace=True),
      conv(p, p, stride=2),
      nn.Identity(),
      nn.ReLU(inplace=True),
    )
    self.layer1 = stage(p, p, first)
    self.layer2 = stage(p, 2 * p, second, 2)
    self.parts = [f'3_{i + 1}' for i in range(len(middle))]
    self.parts = self.parts if len(middle) > 1 else ['3']
    for i, (part, count) in enumerate(zip(self.parts, middle, strict=True)):
      low = stage(4 * p if i else 2 * p, 4 * p, count, 1 if i else 2)
      self.add_module(f'layer{part}', low)
      self.add_module(f'layer{part}_', stage(high, high, count))
      self.add_module(f'down{part}', nn.Sequential(conv(high, 4 * p, 3, 2)))
      self.add_module(f'compression{part}', nn.Sequential(conv(4 * p, high, 1)))
    self.layer4 = stage(4 * p, 8 * p, last, 2)
    self.layer4_ = stage(high, high, last)
    self.down4 = nn.Sequential(
      conv(high, 4 * p, stride=2),
      nn.Identity(),
      nn.ReLU(inplace=True),
      conv(4 * p, 8 * p, stride=2),
    )
    self.compression4 = nn.Sequential(conv(8 * p, high, 1))
    self.layer5_ = nn.Sequential(Bottleneck(high, high))
    self.layer5 = nn.Sequential(Bottleneck(8 * p, 8 * p, stride=2))
    self.spp = PyramidPooling(16 * p, spp_planes, 4 * p)
    self.final_layer = Head(4 * p, head_planes, num_classes)

  def forward(self, x):
    relu = F.relu
    x = self.layer1(self.conv1(x))
    x = detail = self.layer2(relu_(x))
    size = detail.shape[-2:]
    for part in self.parts:
      low = getattr(self, f'layer{part}')(relu(x))
      detail = getattr(self, f'layer{part}_')(relu(detail))
      x = low + getattr(self, f'down{part}')(relu(detail))
      up = getattr(self, f'compression{part}')(relu(low))
      detail = detail + resized(up, size)
    low = self.layer4(relu_(x))
    detail = self.layer4_(relu_(detail))
    x = low + self.down4(relu(detail))
    detail = detail + resized(self.compression4(relu(low)), size)
    detail = self.layer5_(relu_(detail))
    x = self.spp(self.layer5(relu_(x)))
    return self.final_layer(resized(x, size) + detail)
