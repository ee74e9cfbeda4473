"""HRNet in plain PyTorch: what `deltax.models.hrnet` computes, deployed."""

import torch
from torch import nn
from torch_ddrnet import BasicBlock, Bottleneck, conv, relu_, resized


class Exchange(nn.Module):
  def __init__(self, widths):
    super().__init__()
    self.branches = nn.ModuleList(
      nn.Sequential(BasicBlock(n, n), BasicBlock(n, n)) for n in widths
    )
    self.fuse_layers = nn.ModuleList(
      nn.ModuleDict(
        {str(j): path(widths, i, j) for j in range(len(widths)) if j != i}
      )
      for i in range(len(widths))
    )

  def forward(self, xs):
    xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
    return [self.fused(xs, i) for i in range(len(xs))]

  def fused(self, xs, i):
    total = None
    for j, x in enumerate(xs):
      if j != i:
        x = resized(self.fuse_layers[i][str(j)](x), xs[i].shape[-2:])
      total = x if total is None else total + x
    return relu_(total)


def path(widths, i, j):
  """From branch j to branch i."""
  if j > i:
    return nn.Sequential(conv(widths[j], widths[i], 1))
  steps = [down(widths[j], widths[j]) for _ in range(i - j - 1)]
  return nn.Sequential(*steps, nn.Sequential(conv(widths[j], widths[i], 3, 2)))


def down(inputs, outputs):
  return nn.Sequential(
    conv(inputs, outputs, stride=2), nn.Identity(), nn.ReLU(inplace=True)
  )


class HRNet(nn.Module):
  def __init__(self, num_classes, stem=64, planes=18, exchanges=(1, 3, 2)):
    super().__init__()
    self.conv1 = conv(3, stem, stride=2)
    self.conv2 = conv(stem, stem, stride=2)
    self.layer1 = nn.Sequential(
      Bottleneck(stem, stem, 4, relu=True),
      Bottleneck(4 * stem, stem, 4, relu=True),
    )
    self.stages = len(exchanges)
    widths, coarsest = [planes], 4 * stem
    for number, count in enumerate(exchanges, start=1):
      width = planes << number
      added = {str(number): nn.Sequential(down(coarsest, width))}
      if number == 1:
        added['0'] = nn.Sequential(
          conv(coarsest, planes), nn.Identity(), nn.ReLU(inplace=True)
        )
      self.add_module(f'transition{number}', nn.ModuleDict(added))
      widths, coarsest = [*widths, width], width
      stages = nn.Sequential(*(Exchange(widths) for _ in range(count)))
      self.add_module(f'stage{number + 1}', stages)
    total = sum(widths)
    self.last_layer = nn.Sequential(
      conv(total, total, 1),
      nn.Identity(),
      nn.ReLU(inplace=True),
      conv(total, num_classes, 1),
    )

  def forward(self, x):
    x = relu_(self.conv2(relu_(self.conv1(x))))
    x = self.layer1(x)
    xs, coarsest = [self.transition1['0'](x)], x
    for number in range(1, self.stages + 1):
      added = getattr(self, f'transition{number}')[str(number)](coarsest)
      xs = getattr(self, f'stage{number + 1}')([*xs, added])
      coarsest = xs[-1]
    size = xs[0].shape[-2:]
    return self.last_layer(torch.cat([resized(x, size) for x in xs], 1))
