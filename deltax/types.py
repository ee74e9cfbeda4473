"""The shape letters and the names of the pytrees that pass between modules.

    B  clips, or pairs of videos       T  frames
    H  rows of a picture               W  its columns
    C  channels                        K  classes, or candidates of a layer
    N  boxes, or videos of a list      Q  queries
    R  regions of a frame              D  numbers that describe a region

Frames are `[B, H, W, C]`, clips `[B, T, H, W, C]`, features `[T, R, D]`.
"""

from collections.abc import Mapping
from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # a typed key: jax.random.key(seed)
Params = Any  # pytree of trained arrays
ModelState = Any  # pytree of running statistics, changed by training
Carry = Any  # pytree that one frame hands to the next
Batch = Mapping[str, Any]  # arrays with B first; 'mask' [B] is 1 for an example

IGNORE = 255  # the label of pixels that belong to no class
