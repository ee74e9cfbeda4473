"""Draws a scene with panda3d's software rasteriser: no GPU, no display.

One renderer per process: the engine keeps global state, and a second world in
the same process differs from the first by a hair in its colours.
"""

from typing import NamedTuple

import numpy as np
from panda3d import core

from deltax.data.labels import ROAD, SKY
from deltax.data.street.world.things import Thing

NEAR, FAR = 0.4, 450.0
DEPTH_STEP, DEPTH_STEPS = 0.1, 4096  # metres per texel of the depth ramp


class Picture(NamedTuple):
  """One view of the scene.

  Attributes:
    labels: uint8 `[H, W]`, classes 0 to 10.
    instances: int32 `[H, W]`, track numbers, 0 for none.
    depth: float32 `[H, W]`, metres along the optical axis; inf in the sky.
    camera: float `[4, 4]`, from camera axes (right, forward, up) to the world,
      for row vectors `[x, y, z, 1]`.
    poses: the same matrix per track number.
  """

  labels: np.ndarray
  instances: np.ndarray
  depth: np.ndarray
  camera: np.ndarray
  poses: dict[int, np.ndarray]


class Renderer:
  """Draws one world: its colours, its labels and tracks, its depth.

  Each of the three has a scene graph of its own. Labels and track numbers are
  drawn as flat colours, the depth by a texture that counts decimetres.

  Args:
    scene: a `scene.Scene`.
    size: height and width in pixels.
    oversample: how much larger colours are drawn.
  """

  def __init__(self, scene, size, oversample: int = 2):
    core.loadPrcFileData(
      '',
      'load-display p3tinydisplay\nwindow-type offscreen\n'
      'audio-library-name null\nnotify-level error\n'
      'td-perspective-textures 1\nmax-texture-dimension 4096\n',
    )
    self._engine = core.GraphicsEngine.getGlobalPtr()
    self._pipe = _offscreen_pipe()
    self._scene = scene
    height, width = size
    self._lens = core.PerspectiveLens()
    self._lens.setFilmSize(width, height)
    self._lens.setFov(scene.fov)
    self._lens.setNearFar(NEAR, FAR)
    self._images = {
      name: _texture(image, smooth=True)
      for name, image in scene.textures.items()
    }
    self._masks = {
      name: _texture(_white(image), smooth=False)
      for name, image in scene.textures.items()
      if image.shape[-1] == 4
    }
    big = (height * oversample, width * oversample)
    self._views = {
      'colour': self._view(big),
      'numbers': self._view(size),
      'depth': self._view(size),
    }
    empty = (ROAD + 0.5, 0.5, 0.5)  # pinholes between meshes
    self._views['numbers'].buffer.setClearColor(
      tuple(value / 255 for value in empty) + (1,)
    )
    asphalt = scene.textures['asphalt'].mean((0, 1)) / 255
    self._views['colour'].buffer.setClearColor((*asphalt.tolist(), 1))
    self._views['depth'].measure()
    self._moving, self._far, self._tracks = [], [], {}
    for thing in scene.things:
      self._add(thing, {name: view.root for name, view in self._views.items()})

  def colour(self, time: float) -> np.ndarray:
    """uint8 `[s * H, s * W, 3]`, oversampled by s; no weather yet."""
    self._render(time, ['colour'])
    return self._views['colour'].read()

  def draw(self, time: float) -> Picture:
    """Labels, tracks and depth at a time in seconds."""
    self._render(time, ['numbers', 'depth'])
    numbers = self._views['numbers'].read().astype(np.int32)
    labels = numbers[..., 0].astype(np.uint8)
    # Two channels: a step of the depth ramp is one of 4096 texels.
    ramp = self._views['depth'].read().astype(np.float32)
    depth = (ramp[..., 1] * 256 + ramp[..., 2] + 0.5) * DEPTH_STEP
    depth[labels == SKY] = np.inf
    return Picture(
      labels,
      numbers[..., 1] + 256 * numbers[..., 2],
      depth,
      _matrix(self._views['numbers'].camera),
      {track: _matrix(node) for track, node in self._tracks.items()},
    )

  def _render(self, time: float, names):
    pose = self._scene.camera(time)
    for name, view in self._views.items():
      view.camera.setPosHpr(*pose)
      view.buffer.setActive(name in names)
    for nodes, place in self._moving:
      placed = place(time)
      for name in names:
        nodes[name].setPosHpr(*placed)
    for node in self._far:
      node.setPos(*pose[:3])
    self._engine.renderFrame()

  def _view(self, size) -> '_View':
    return _View(self._engine, self._pipe, size, self._lens)

  def _add(self, thing: Thing, parents, instance=None):
    instance = thing.instance if instance is None else instance
    geometry = _geometry(thing.mesh)
    nodes = {}
    for name, parent in parents.items():
      node = parent.attachNewNode(core.GeomNode(name))
      node.node().addGeom(geometry)
      nodes[name] = node
      if thing.far:
        node.setBin('background', 0 if thing.label == SKY else 1)
        node.setDepthWrite(False)
        self._far.append(node)
    image = self._images.get(thing.texture)
    mask = self._masks.get(thing.texture)
    if image is not None:
      nodes['colour'].setTexture(image)
    # Colours are bytes, so a track number takes two; half a step more, so that
    # no rounding changes a number.
    number = (thing.label, instance % 256, instance // 256)
    nodes['numbers'].setColor(*((value + 0.5) / 255 for value in number), 1)
    if mask is not None:
      nodes['numbers'].setTexture(mask)
      nodes['depth'].setTexture(MASK, mask)
      for node in nodes.values():
        node.setTransparency(core.TransparencyAttrib.MBinary)
    if thing.pose is not None:
      self._moving.append((nodes, thing.pose))
    if thing.instance:
      self._tracks[thing.instance] = nodes['numbers']
    for part in thing.parts:
      self._add(part, nodes, instance)


DISTANCE = core.TextureStage('distance')
DISTANCE.setSort(0)
MASK = core.TextureStage('mask')
MASK.setSort(1)


class _View:
  """An offscreen buffer with its own scene graph and camera."""

  def __init__(self, engine, pipe, size, lens):
    height, width = size
    wanted = core.FrameBufferProperties()
    wanted.setRgbaBits(8, 8, 8, 8)
    wanted.setDepthBits(24)
    self.buffer = engine.makeOutput(
      pipe,
      'street',
      0,
      wanted,
      core.WindowProperties.size(width, height),
      core.GraphicsPipe.BFRefuseWindow,
    )
    self._image = core.Texture()
    self.buffer.addRenderTexture(
      self._image,
      core.GraphicsOutput.RTMCopyRam,
      core.GraphicsOutput.RTPColor,
    )
    self.root = core.NodePath('street')
    self.root.setTwoSided(True)
    self.camera = self.root.attachNewNode(core.Camera('camera', lens))
    self.buffer.makeDisplayRegion().setCamera(self.camera)
    self._size = size

  def measure(self):
    """Draws the distance along the optical axis instead of colours."""
    ramp = _texture(_depth_ramp(), smooth=False)
    ramp.setWrapU(core.SamplerState.WM_clamp)
    # A point's place before the camera becomes its place in the ramp's texture:
    # the second coordinate, forward, is moved to the first.
    self.root.setTexGen(DISTANCE, core.TexGenAttrib.MEyePosition)
    scale = core.Mat4(*([0.0] * 16))
    scale.setCell(1, 0, 1 / (DEPTH_STEP * DEPTH_STEPS))
    scale.setCell(3, 3, 1)
    self.root.setTexTransform(DISTANCE, core.TransformState.makeMat(scale))
    self.root.setTexture(DISTANCE, ramp)
    self.root.setColor(1, 1, 1, 1)  # else the meshes' colours dim the ramp

  def read(self) -> np.ndarray:
    pixels = self._image.getRamImageAs('RGB')
    image = np.frombuffer(pixels, np.uint8).reshape(*self._size, 3)
    return image[::-1]


def _offscreen_pipe():
  selection = core.GraphicsPipeSelection.getGlobalPtr()
  for k in range(selection.getNumPipeTypes()):
    kind = selection.getPipeType(k)
    if 'TinyOffscreen' in str(kind):
      return selection.makePipe(kind)
  raise RuntimeError('panda3d has no p3tinydisplay software rasteriser')


def _texture(image, smooth: bool) -> core.Texture:
  height, width, channels = image.shape
  layout = core.Texture.FRgba if channels == 4 else core.Texture.FRgb
  texture = core.Texture()
  texture.setup2dTexture(width, height, core.Texture.TUnsignedByte, layout)
  order = [2, 1, 0, 3][:channels] if channels == 4 else [2, 1, 0]
  texture.setRamImage(np.ascontiguousarray(image[::-1, :, order]).tobytes())
  fine = core.SamplerState.FT_linear if smooth else core.SamplerState.FT_nearest
  far = core.SamplerState.FT_linear_mipmap_linear if smooth else fine
  texture.setMagfilter(fine)
  texture.setMinfilter(far)
  return texture


def _matrix(node) -> np.ndarray:
  return np.array(node.getMat()).reshape(4, 4)


def _white(image) -> np.ndarray:
  return np.concatenate([np.full_like(image[..., :3], 255), image[..., 3:]], -1)


def _depth_ramp() -> np.ndarray:
  step = np.arange(DEPTH_STEPS)
  zero = np.zeros_like(step)
  return np.stack([zero, step // 256, step % 256], 1)[None].astype(np.uint8)


def _geometry(model) -> core.Geom:
  layout = core.GeomVertexFormat.getV3c4t2()
  data = core.GeomVertexData('mesh', layout, core.Geom.UHStatic)
  data.uncleanSetNumRows(len(model.points))
  rows = np.zeros(
    len(model.points), [('p', 'f4', 3), ('c', 'u1', 4), ('t', 'f4', 2)]
  )
  rows['p'], rows['t'] = model.points, model.uv
  rows['c'][:, :3] = np.clip(model.colours * 255, 0, 255)
  rows['c'][:, 3] = 255
  data.modifyArrayHandle(0).copyDataFrom(rows.tobytes())
  triangles = core.GeomTriangles(core.Geom.UHStatic)
  triangles.setIndexType(core.Geom.NTUint32)
  handle = triangles.modifyVertices()
  handle.uncleanSetNumRows(model.triangles.size)
  handle.modifyHandle().copyDataFrom(
    model.triangles.astype(np.uint32).tobytes()
  )
  geometry = core.Geom(data)
  geometry.addPrimitive(triangles)
  return geometry
