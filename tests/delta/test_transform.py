"""What must hold of a delta network, whatever its weights."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Full, LowRank, Spec, distill, losses


def assert_close(a, b, tolerance=1e-5):
  """Equal up to `tolerance` of the largest value, or of 1."""

  def check(x, y):
    scale = max(1.0, float(jnp.abs(y).max()))
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale)

  jax.tree.map(check, a, b)


def frame_by_frame(case):
  frames = case.clip.reshape(-1, *case.clip.shape[2:])
  outs = jax.jit(case.net.apply)(case.params['teacher'], frames)
  return jax.tree.map(
    lambda x: x.reshape(*case.clip.shape[:2], *x.shape[1:]), outs
  )


def test_students_equal_to_the_teacher_give_the_network_itself(make_case):
  case = make_case(Spec(candidates=(Full(),)))
  teacher = case.params['teacher']['params']
  for path, own in case.params['students'].items():
    own['full']['kernel'] = teacher[path]['kernel']
  outs = jax.jit(lambda p, c: case.delta.rollout(p, c, 7))(
    case.params, case.clip
  )
  assert_close(outs, frame_by_frame(case))


def test_students_start_as_copies_of_the_teacher(make_case):
  case = make_case()
  params = case.delta.init(
    jax.random.key(0), case.params['teacher'], case.clip[:, 0]
  )
  kernel = case.params['teacher']['params']['wide']['kernel']
  own = params['students']['wide']
  assert set(own['full']) == {'kernel'}  # and no bias
  np.testing.assert_array_equal(own['full']['kernel'], kernel)
  np.testing.assert_allclose(params['gates']['wide'], [-1.0])


def test_rollout_is_a_loop_over_step(case):
  outs = jax.jit(lambda p, c: case.delta.rollout(p, c, 3))(
    case.params, case.clip
  )
  step = jax.jit(case.delta.step)
  for t in range(case.clip.shape[1]):
    frame = case.clip[:, t]
    if t % 3 == 0:
      carry, out = jax.jit(case.delta.keyframe)(case.params, frame)
    else:
      carry, out = step(case.params, carry, frame)
    assert_close(out, jax.tree.map(lambda x, t=t: x[:, t], outs))


@pytest.mark.parametrize('interval', [1, 2, 3, 6, 7, 20])
def test_clip_in_one_pass_equals_the_rollout(case, interval):
  outs = jax.jit(lambda p, c: case.delta.rollout(p, c, interval))(
    case.params, case.clip
  )
  folded, _ = jax.jit(lambda p, c: case.delta.clip(p, c, interval=interval))(
    case.params, case.clip
  )
  assert_close(folded, outs)


def test_an_interval_of_one_is_the_network_itself(case):
  outs = jax.jit(lambda p, c: case.delta.rollout(p, c, 1))(
    case.params, case.clip
  )
  assert_close(outs, frame_by_frame(case))


def test_later_frames_differ_from_the_network_while_students_do(case):
  outs, _ = jax.jit(case.delta.clip)(case.params, case.clip)
  exact = frame_by_frame(case)['dense']
  assert_close(outs['dense'][:, 0], exact[:, 0])
  assert jnp.abs(outs['dense'][:, 1:] - exact[:, 1:]).max() > 0.1


def test_both_references_agree_on_two_frames(make_case):
  outs = [
    case.delta.clip(case.params, case.clip)[0]
    for case in (
      make_case(Spec(reference=reference), frames=2)
      for reference in ('key', 'previous')
    )
  ]
  assert_close(*outs)


def test_both_references_agree_while_students_are_linear(make_case):
  outs = [
    jax.jit(case.delta.clip)(case.params, case.clip)[0]
    for case in (make_case(Spec(reference=r)) for r in ('key', 'previous'))
  ]
  assert_close(*outs, tolerance=1e-4)


def test_a_student_bias_adds_up_only_in_the_recurrent_form(make_case):
  outs = {}
  for reference in ('key', 'previous'):
    case = make_case(Spec(reference=reference))
    for own in case.params['students']['wide'].values():
      own['bias'] = jnp.ones(12)
    outs[reference], _ = jax.jit(case.delta.clip)(case.params, case.clip)
  key, previous = outs['key']['dense'], outs['previous']['dense']
  assert_close(key[:, :2], previous[:, :2], tolerance=1e-4)
  assert jnp.abs(key[:, 2:] - previous[:, 2:]).max() > 0.1


def test_streams_run_side_by_side_each_with_its_own_phase(case):
  phases = jnp.array([0, 1, 2])
  streams = jnp.stack([case.clip, 2 * case.clip, -case.clip])

  def run(clip, phase):
    return case.delta.rollout(case.params, clip, 3, phase=phase)

  together = jax.jit(jax.vmap(run))(streams, phases)
  for i, phase in enumerate(phases):
    alone = jax.jit(run)(streams[i], phase)
    assert_close(alone, jax.tree.map(lambda x, i=i: x[i], together))
  # Stream 1 has its key frames at 0, 2 and 5: there it is the network itself.
  exact = jax.jit(case.net.apply)(case.params['teacher'], streams[1][:, 5])
  assert_close(exact, jax.tree.map(lambda x: x[1, :, 5], together))


def test_a_clip_of_one_frame_is_the_teacher(case):
  clip = case.clip[:, :1]
  for outs in (
    case.delta.clip(case.params, clip)[0],
    case.delta.rollout(case.params, clip, 5),
  ):
    exact = case.net.apply(case.params['teacher'], clip[:, 0])
    assert_close(exact, jax.tree.map(lambda x: x[:, 0], outs))


def test_a_carry_saved_and_restored_continues_identically(case, tmp_path):
  step = jax.jit(case.delta.step)
  carry, _ = case.delta.keyframe(case.params, case.clip[:, 0])
  carry, _ = step(case.params, carry, case.clip[:, 1])
  leaves, structure = jax.tree.flatten(carry)
  np.savez(tmp_path / 'carry.npz', *leaves)
  loaded = np.load(tmp_path / 'carry.npz')
  restored = jax.tree.unflatten(structure, [loaded[k] for k in loaded])
  _, expected = step(case.params, carry, case.clip[:, 2])
  _, out = step(case.params, restored, case.clip[:, 2])
  jax.tree.map(np.testing.assert_array_equal, out, expected)


def test_a_shared_layer_has_a_state_for_every_call(case):
  carry, _ = case.delta.keyframe(case.params, case.clip[:, 0])
  assert {'shared', 'shared:1'} <= set(carry)
  assert jnp.abs(carry['shared']['x'][0] - carry['shared:1']['x'][0]).max() > 0


@pytest.mark.parametrize('reference', ['key', 'previous'])
@pytest.mark.parametrize('interval', [None, 3])
def test_training_by_scan_has_the_losses_and_gradients_of_the_pass(
  make_case, reference, interval
):
  case = make_case(Spec(reference=reference), frames=5)

  @functools.partial(jax.jit, static_argnums=1)
  def run(params, scan):
    gates = case.delta.sample(jax.random.key(3), params)

    def loss(params):
      outs, aux = case.delta.clip(
        params, case.clip, gates=gates, interval=interval, scan=scan
      )
      _, target = case.delta.reference(params, case.clip, interval=interval)
      errors = losses.distillation(aux.deltas, target)
      task = jnp.square(outs['dense']).mean() + jnp.sin(outs['sum']).mean()
      return task + losses.average(errors).mean(), (outs, errors)

    return jax.value_and_grad(loss, has_aux=True)(params)

  (loss, others), gradient = run(case.params, True)
  (expected, expected_others), expected_gradient = run(case.params, False)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert_close(others, expected_others, tolerance=1e-4)
  assert_close(gradient, expected_gradient, tolerance=1e-4)


def test_batch_statistics_pool_key_and_later_frames(make_case):
  case = make_case(Spec(candidates=(Full(),)), frames=2)
  teacher = case.params['teacher']['params']
  for path, own in case.params['students'].items():
    own['full']['kernel'] = teacher[path]['kernel']
  _, aux = jax.jit(functools.partial(case.delta.clip, train=True))(
    case.params, case.clip, key=jax.random.key(0)
  )
  frames = case.clip.reshape(-1, *case.clip.shape[2:])
  _, updates = case.net.apply(
    case.params['teacher'], frames, train=True, mutable=['batch_stats']
  )
  assert_close(aux.batch_stats, updates['batch_stats'], tolerance=1e-4)


def test_the_teachers_own_changes_are_what_is_distilled(case):
  outs, deltas = jax.jit(case.delta.reference)(case.params, case.clip)
  assert_close(outs, frame_by_frame(case))
  carries = [
    case.delta.keyframe(case.params, case.clip[:, t])[0]['wide']['z']
    for t in range(2)
  ]
  _, aux = case.delta.clip(case.params, case.clip)
  assert set(deltas) == set(aux.deltas)
  first = carries[1] - carries[0]
  assert_close(deltas['wide'][:, 0], first)


def test_no_gradient_reaches_the_teacher_through_its_targets(case):
  def loss(params):
    outs, deltas = case.delta.reference(params, case.clip)
    return outs['dense'].sum() + sum(d.sum() for d in deltas.values())

  gradient = jax.grad(loss)(case.params)
  assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_gradients_reach_every_student_and_gate(case):
  def loss(params):
    gates = case.delta.sample(jax.random.key(1), params)
    soft = {path: 0.5 + 0.5 * gate for path, gate in gates.items()}
    outs, _ = case.delta.clip(params, case.clip, gates=soft)
    return jnp.square(outs['dense']).sum()

  gradient = jax.jit(jax.grad(loss))(case.params)
  for name in ('students', 'gates'):
    assert all(jnp.any(leaf) for leaf in jax.tree.leaves(gradient[name]))


def test_three_candidates_of_which_the_largest_logit_runs(make_case):
  spec = Spec(candidates=(Full(), LowRank(2), LowRank(4, 'min')))
  case = make_case(spec)
  case.params['gates'] = {
    path: jnp.array([-1.0, 2.0]) for path in case.params['gates']
  }
  assert set(case.delta.choose(case.params).values()) == {1}
  weights = {path: jnp.array([0.0, 1.0, 0.0]) for path in case.params['gates']}
  chosen, _ = case.delta.clip(case.params, case.clip)
  mixed, _ = case.delta.clip(case.params, case.clip, gates=weights)
  assert_close(chosen, mixed)


def test_candidates_may_depend_on_the_layer(make_case):
  def candidates(layer):
    return (Full(),) if layer.kernel[:2] == (1, 1) else (Full(), LowRank(2))

  case = make_case(Spec(candidates=candidates))
  assert 'shared' in case.params['students']
  assert 'shared' not in case.params['gates']  # nothing to choose
  assert case.delta.choose(case.params)['shared'] == 0


class Scanned(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Conv(4, (3, 3))(x)

    class Block(nn.Module):
      @nn.compact
      def __call__(self, x, _):
        return nn.Conv(4, (3, 3), name='inner')(x), None

    block = nn.scan(
      Block, variable_axes={'params': 0}, split_rngs={'params': True}, length=3
    )
    return block(name='blocks')(x, None)[0]


class Remat(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.remat(nn.Conv)(4, (3, 3), name='inner')(nn.Conv(4, (3, 3))(x))


@pytest.mark.parametrize('net', [Scanned(), Remat()])
def test_a_network_that_hides_its_layers_is_refused(net):
  frame = jnp.ones((1, 8, 8, 3))
  variables = net.init(jax.random.key(0), frame)
  with pytest.raises(ValueError, match=r'inner.*runs inside'):
    distill(net).init(jax.random.key(0), variables, frame)


def test_a_network_without_layers_is_refused():
  net, frame = nn.Dense(4), jnp.ones((1, 8, 8, 3))
  variables = net.init(jax.random.key(0), frame)
  with pytest.raises(ValueError, match='Dense calls no layer that can have a'):
    distill(net).init(jax.random.key(0), variables, frame)


def test_wrong_ranks_and_intervals_are_refused(case):
  with pytest.raises(ValueError, match=r'expected \[B, H, W, C\], got'):
    case.delta.keyframe(case.params, case.clip)
  with pytest.raises(ValueError, match=r'expected \[B, T, H, W, C\], got'):
    case.delta.rollout(case.params, case.clip[:, 0], 3)
  with pytest.raises(ValueError, match='interval is at least 1, got 0'):
    case.delta.rollout(case.params, case.clip, 0)
  with pytest.raises(ValueError, match='needs key= or gates='):
    case.delta.clip(case.params, case.clip, train=True)


def test_specs_that_make_no_sense_are_refused(make_case):
  with pytest.raises(ValueError, match="no reference 'first'; known"):
    Spec(reference='first')
  with pytest.raises(ValueError, match='temperature 0 is not positive'):
    Spec(temperature=0)
  with pytest.raises(ValueError, match="no low-rank policy 'in'; known"):
    LowRank(4, 'in')
  with pytest.raises(ValueError, match='picked no layer; the network has stem'):
    make_case(Spec(layers=lambda layers: []))
  with pytest.raises(ValueError, match='each with a name of its own'):
    make_case(Spec(candidates=(Full(), Full())))
