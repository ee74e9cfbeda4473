"""Frame-level students in plain PyTorch, pair by pair, timed beside ours.

As the published code compares: all inner products of regions by one `einsum`,
the best target region of each of the query's, their mean, the comparator, and
how well each row of its outputs is matched. Videos have no padding.

Source: Kordopatis-Zilos et al., "DnS: Distill-and-Select for Efficient and
Accurate Video Indexing and Retrieval", IJCV 2022, section 3.2; ViSiL, ICCV
2019, sections 3.3 and 3.4.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def comparator(params: Mapping) -> nn.Sequential:
  """The comparator with the parameters of ours."""
  layers = []
  for name, pooled in (('conv1', 1), ('conv2', 1), ('conv3', 0), ('fconv', 0)):
    kernel = np.asarray(params[name]['kernel']).transpose(3, 2, 0, 1)
    features, channels, size, _ = kernel.shape
    conv = nn.Conv2d(channels, features, size, padding=size // 2)
    conv.weight.data = torch.tensor(kernel)
    conv.bias.data = torch.tensor(np.asarray(params[name]['bias']))
    layers.append(conv)
    if name != 'fconv':
      layers.append(nn.ReLU())
    if pooled:
      layers.append(nn.MaxPool2d(2, 2))
  return nn.Sequential(*layers)


def make_compare(
  params: Mapping, scale: float
) -> Callable[[np.ndarray, Iterable[np.ndarray]], np.ndarray]:
  """Makes a function that gives the scores of a query with some targets.

  Args:
    params: of our comparator.
    scale: that products are multiplied by: 1 / D for binary codes, else 1.

  Returns:
    `compare(query, targets)` of codes `[T, R, D]` and `[N, S, P, D]`.
  """
  net = comparator(params)

  @torch.no_grad()
  def compare(query, targets):
    query = torch.from_numpy(query)[None]
    return np.array([pair(query, torch.from_numpy(x)[None]) for x in targets])

  def pair(query, target):
    products = torch.einsum('biok,bjpk->biopj', query, target)
    frames = products.max(3)[0].mean(2) * scale
    limited = functional.hardtanh(net(frames[:, None])[:, 0])
    return limited.max(2)[0].mean(1).item()

  return compare
