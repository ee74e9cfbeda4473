import numpy as np

from deltax.boxes.grid_anchors import grid_anchors


def test_anchors_are_those_of_the_definition():
  scales, ratios = (4, 8, 16, 32), (0.5, 1.0, 2.0)
  anchors = grid_anchors((3, 5), stride=16, scales=scales, ratios=ratios)
  expected = []
  for row in range(3):
    for col in range(5):
      for ratio in ratios:
        for scale in scales:
          area = (16 * scale) ** 2
          width, height = np.sqrt(area / ratio), np.sqrt(area * ratio)
          x, y = 16 * col, 16 * row
          expected.append(
            (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
          )
  assert anchors.dtype == np.float32
  np.testing.assert_allclose(anchors, expected, rtol=1e-5, atol=1e-3)
