"""What holds of every distilled network, whatever it is made of."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta import Delta, Full, Spec, distill
from deltax.delta.adapters import as_network
from deltax.delta.cost import count
from deltax.delta.export import export

EVERY = Spec(layers=lambda layers: layers, candidates=(Full(),))
INTERVAL = 3
KEYS = (0, 3, 6)  # key frames; the last of 7 frames, and of 4, is one
# In bfloat16, which has 8 digits: what a few layers that round otherwise make
# of them, where the compiler keeps more digits between two operations.
CLOSE = {jnp.dtype('float32'): 1e-5, jnp.dtype('bfloat16'): 0.04}


def noisy(tree: Any, seed: int, size: float = 0.1) -> Any:
  """A tree with noise on every array, in its own type."""
  leaves, structure = jax.tree.flatten(tree)
  draw = np.random.default_rng(seed)
  return jax.tree.unflatten(
    structure,
    [
      leaf + jnp.asarray(size * draw.normal(size=leaf.shape), leaf.dtype)
      for leaf in leaves
    ],
  )


def assert_close(given: Any, expected: Any) -> None:
  """Equal up to the rounding of the type, as a share of the scale."""

  def check(x, y):
    assert x.dtype == y.dtype
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    assert np.isfinite(y).all() and np.abs(y).max() > 0.01
    np.testing.assert_allclose(
      x, y, rtol=0, atol=CLOSE[given_type] * np.abs(y).max()
    )

  given_type = jax.tree.leaves(given)[0].dtype
  jax.tree.map(check, given, expected)


@dataclasses.dataclass(eq=False)
class Case:
  """A network, its variables, and a clip; what tests share is computed once.

  Attributes:
    net: the network.
    variables: of the network.
    clip: `[2, 7, H, W, 3]`.
  """

  net: Any
  variables: Any
  clip: jax.Array

  @functools.cached_property
  def delta(self) -> Delta:
    return distill(self.net)

  @functools.cached_property
  def params(self) -> Any:
    params = self.delta.init(jax.random.key(1), self.variables, self.clip[:, 0])
    params['students'] = noisy(params['students'], 2, 0.02)
    for i, path in enumerate(params['gates']):
      params['gates'][path] += 2.0 * (i % 2)  # every other takes the first
    return params

  @functools.cached_property
  def teacher(self) -> Any:
    """The network frame by frame, `[B, T, ...]`."""
    run = jax.jit(as_network(self.net).run)
    variables = self.params['teacher']
    return stacked([run(variables, x) for x in self.clip.swapaxes(0, 1)])

  @functools.cached_property
  def loop(self) -> Any:
    """Key frames and steps one after another, `[B, T, ...]`."""
    return stepped(self.delta, self.params, self.clip)

  @functools.cached_property
  def frozen(self) -> Any:
    return self.delta.freeze(self.params, self.clip[:, 0])

  def loss(self, students: Any, gates: Any) -> jax.Array:
    """Of a training pass."""
    params = {**self.params, 'students': students, 'gates': gates}
    key = jax.random.key(3)
    outs, aux = self.delta.clip(params, self.clip, key=key, train=True)
    leaves = jax.tree.leaves((outs, aux.deltas))
    return sum(jnp.square(x.astype(jnp.float32)).mean() for x in leaves)


def stacked(outputs: list) -> Any:
  """`T` outputs `[B, ...]` as `[B, T, ...]`."""
  return jax.tree.map(lambda *x: jnp.stack(x, 1), *outputs)


def stepped(delta: Any, params: Any, clip: jax.Array) -> Any:
  """Outputs of a delta network or a frozen one, frame after frame."""
  keyframe, step = jax.jit(delta.keyframe), jax.jit(delta.step)
  outputs, carry = [], None
  for t, frame in enumerate(clip.swapaxes(0, 1)):
    if t in KEYS:
      carry, out = keyframe(params, frame)
    else:
      carry, out = step(params, carry, frame)
    outputs.append(out)
  return stacked(outputs)


def check_copies_give_the_teacher(case: Case) -> None:
  delta = distill(case.net, EVERY)
  params = delta.init(jax.random.key(1), case.variables, case.clip[:, 0])

  @jax.jit
  def clip(params, clip):
    return delta.clip(params, clip, interval=INTERVAL)[0]

  assert_close(clip(params, case.clip), case.teacher)


def check_the_rollout_is_the_loop(case: Case) -> None:
  rollout = jax.jit(functools.partial(case.delta.rollout, interval=INTERVAL))
  assert_close(rollout(case.params, case.clip), case.loop)
  frames = jax.tree.leaves(case.loop)[0].astype(jnp.float32)
  teacher = jax.tree.leaves(case.teacher)[0].astype(jnp.float32)
  away = np.abs(frames - teacher).reshape(*frames.shape[:2], -1).max((0, 2))
  # Students do run: only key frames have what the teacher gives.
  assert away[list(KEYS)].max() < away[[1, 2, 4, 5]].min()


def check_the_clip_is_the_loop(case: Case, frames: int) -> None:
  @jax.jit
  def clip(params, clip):
    return case.delta.clip(params, clip, interval=INTERVAL)[0]

  expected = jax.tree.map(lambda x: x[:, :frames], case.loop)
  assert_close(clip(case.params, case.clip[:, :frames]), expected)


def check_frozen_is_unfrozen(case: Case) -> None:
  frozen = case.frozen
  assert_close(stepped(frozen, frozen.params, case.clip), case.loop)


def check_gradients_are_finite(case: Case) -> None:
  students, gates = case.params['students'], case.params['gates']
  grads = jax.jit(jax.grad(case.loss, (0, 1)))(students, gates)
  for path, of_path in grads[0].items():
    leaves = [np.asarray(x, np.float32) for x in jax.tree.leaves(of_path)]
    assert all(np.isfinite(leaf).all() for leaf in leaves), path
    # Of the candidates one is sampled; the others learn nothing.
    assert any(np.abs(leaf).max() > 0 for leaf in leaves), path
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads[1]))


def check_programs_are_lowered(case: Case) -> None:
  programs = export(case.frozen, case.clip[:1, 0].shape)
  assert set(programs) == {'keyframe', 'step'}
  for program in programs.values():
    made = jax.export.deserialize(bytearray(program.content))
    assert set(made.platforms) == {'cpu', 'cuda', 'tpu'}


def macs_of(case: Case) -> int:
  """Multiply-accumulates of the teacher on one frame."""
  macs = case.delta.macs(case.params, case.clip[:, 0])
  alone = count(case.net, case.params['teacher'], case.clip[:, 0])
  assert macs.key == alone.key
  return macs.key
