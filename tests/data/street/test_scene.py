"""The world of a seed, before it is drawn."""

import numpy as np
import pytest

from deltax.data.street import scene as street_scene


def measures(seed):
  """What any change of a world's shapes, colours, places or motion changes."""
  scene = street_scene.build(seed, 5.0)
  parts = [part for thing in scene.things for part in (thing, *thing.parts)]
  poses = [part.pose(1.7) for part in parts if part.pose]
  return [
    len(parts),
    sum(len(part.mesh.triangles) for part in parts),
    sum(part.mesh.points.sum() for part in parts),
    sum((part.mesh.uv**2).sum() for part in parts),
    sum(part.mesh.colours.sum() for part in parts),
    np.sum(poses),
    np.sum(scene.camera(1.7)),
    sum(float(image.mean()) for image in scene.textures.values()),
  ]


# As they were drawn when `drive.VERSION` was set: new numbers, new version.
@pytest.mark.parametrize(
  ('seed', 'expected'),
  [
    (
      0,
      [
        249,
        34400,
        1615424.916,
        21949965.51,
        51416.57041,
        17552.67687,
        24.11030604,
        2372.41686,
      ],
    ),
    (
      5,
      [
        317,
        30661,
        838878.3419,
        18656074.66,
        45657.54396,
        12843.98067,
        6.355111268,
        2398.620153,
      ],
    ),
    (
      11,
      [
        212,
        20381,
        1952720.775,
        22476150.88,
        32946.39008,
        5407.211422,
        0.5431170657,
        2485.988345,
      ],
    ),
  ],
)
def test_the_world_of_a_seed_is_the_one_that_it_always_was(seed, expected):
  np.testing.assert_allclose(measures(seed), expected, rtol=1e-6)
