"""Boxes: their geometry, and what a detector makes of them."""

from deltax.boxes.anchors import pyramid_anchors
from deltax.boxes.codes import decode, encode
from deltax.boxes.geometry import area, clip_to, iou
from deltax.boxes.matching import match
from deltax.boxes.nms import Detections, nms

__all__ = [
  'Detections',
  'area',
  'clip_to',
  'decode',
  'encode',
  'iou',
  'match',
  'nms',
  'pyramid_anchors',
]
