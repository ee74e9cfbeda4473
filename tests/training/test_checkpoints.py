"""Checkpoints come back whole, or say what is wrong with them."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deltax.training import (
  CheckpointError,
  Checkpoints,
  TrainState,
  find_checkpoint,
  make_optimizer,
  read_metadata,
  restore,
  restore_params,
)

PARAMS = {
  'layer1/conv1#0': {'kernel': jnp.arange(6.0).reshape(2, 3)},
  'layer1.conv1': {'kernel': jnp.ones((3,), jnp.bfloat16)},
  'layer1': {'conv1': {'kernel': jnp.zeros(2)}, 'conv1#0': jnp.ones(())},
  '[0]': {'%2F': jnp.array([7.0]), 'é ü': jnp.array([8.0]), '': jnp.ones(1)},
  'stages': (jnp.ones(2), (jnp.zeros(3), jnp.ones((1, 1)))),
}


def make_state(step: int = 0, optimizer=None) -> TrainState:
  optimizer = optimizer or make_optimizer(
    'adamw',
    learning_rate=0.1,
    steps=10,
    clip_norm=1.0,
    groups=(('^layer1', {}), ('', 'frozen')),
  )
  return TrainState(
    step=jnp.int32(step),
    params=PARAMS,
    model_state={
      'batch_stats': {'mean': jnp.ones(4) * step, 'n': jnp.int32(3)}
    },
    opt_state=jax.tree.map(lambda x: x + step, optimizer.init(PARAMS)),
    key=jax.random.key(5),
  )


def save(workdir: pathlib.Path, *scores: float | None, **options) -> None:
  with Checkpoints(workdir, **options) as checkpoints:
    for step, score in enumerate(scores, 1):
      checkpoints.save(
        make_state(step), None if score is None else {'miou': score}
      )


def kept(workdir: pathlib.Path) -> list[int]:
  return sorted(int(f.name) for f in (workdir / 'checkpoints').iterdir())


def assert_same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)

  def same(x, y):
    assert x.dtype == y.dtype
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      x, y = jax.random.key_data(x), jax.random.key_data(y)
    np.testing.assert_array_equal(x, y)

  jax.tree.map(same, actual, expected)


def test_a_state_with_any_keys_and_tuples_comes_back_exactly(tmp_path):
  save(tmp_path, None)
  assert_same(restore(tmp_path, make_state()), make_state(1))


def test_params_come_back_without_knowing_what_trained_them(tmp_path):
  save(tmp_path, None)
  state = make_state(1)
  assert_same(restore_params(tmp_path), (state.params, state.model_state))


def test_a_part_of_the_state_restores_alone(tmp_path):
  save(tmp_path, None)
  state = make_state(1)
  part = {'params': state.params, 'model_state': state.model_state}
  assert_same(restore(tmp_path, part), part)


def test_the_latest_and_the_best_are_kept(tmp_path):
  save(tmp_path, 0.1, 0.9, None, 0.5, 0.3, None, best='miou', keep=2)
  assert kept(tmp_path) == [2, 4, 6]
  assert find_checkpoint(tmp_path).name == '2'
  assert read_metadata(tmp_path)['scores'] == {'miou': 0.9}


def test_a_score_that_is_not_a_number_is_never_the_best(tmp_path):
  save(tmp_path, 0.4, float('nan'), 0.2, best='miou')
  assert kept(tmp_path) == [1, 3]
  assert find_checkpoint(tmp_path).name == '1'


def test_without_a_score_the_latest_ones_are_kept(tmp_path):
  save(tmp_path, 0.9, None, 0.1, None, keep=2)
  assert kept(tmp_path) == [3, 4]
  assert find_checkpoint(tmp_path).name == '4'


def test_metadata_tells_what_made_the_checkpoint(tmp_path):
  save(
    tmp_path, 0.5, best='miou', metadata={'task': 'toy', 'config': {'lr': 0.1}}
  )
  metadata = read_metadata(tmp_path)
  assert metadata['task'] == 'toy' and metadata['config'] == {'lr': 0.1}
  assert metadata['step'] == 1 and metadata['best'] == 'miou'
  assert metadata['deltax']


def test_the_score_to_keep_the_best_by_must_exist(tmp_path):
  with Checkpoints(tmp_path, best='map') as checkpoints:
    with pytest.raises(KeyError, match=r"best='map'.*\['miou'\]"):
      checkpoints.save(make_state(1), {'miou': 0.5})


def test_a_saved_state_may_be_donated_at_once(tmp_path):
  bump = jax.jit(lambda x: x + 1, donate_argnums=0)
  state = TrainState(
    jnp.int32(0), jnp.zeros(1 << 20), {}, (), jax.random.key(0)
  )
  with Checkpoints(tmp_path, keep=5) as checkpoints:
    for step in range(5):
      state = state._replace(step=jnp.int32(step))
      checkpoints.save(state)
      for _ in range(3):
        state = state._replace(params=bump(state.params))
  for step in range(5):
    params, _ = restore_params(tmp_path / 'checkpoints' / str(step))
    assert (params == 3 * step).all()


def test_a_folder_without_a_checkpoint_says_what_was_expected(tmp_path):
  with pytest.raises(CheckpointError, match=r'no checkpoint in .*<step>'):
    restore(tmp_path, make_state())


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    (
      {'params': {**PARAMS, 'extra': jnp.ones(2)}},
      r'1 missing: params/extra$',
    ),
    ({'model_state': {}}, r'left over: model_state/batch_stats/mean, model_'),
    (
      {'params': {**PARAMS, 'layer1/conv1#0': {'kernel': jnp.ones((3, 2))}}},
      r'1 different: params/layer1%2Fconv1%230/kernel \(stored \[\[2, 3\], '
      r"'float32'\], expected \[\[3, 2\], 'float32'\]\)",
    ),
    ({'opt_state': optax.sgd(0.1).init(PARAMS)}, r'left over: opt_state/'),
  ],
)
def test_a_foreign_checkpoint_names_the_leaves(tmp_path, changed, said):
  save(tmp_path, None)
  target = make_state()._replace(**changed)
  with pytest.raises(CheckpointError, match=said) as caught:
    restore(tmp_path, target)
  assert str(tmp_path) in str(caught.value)


def stored_files(folder: pathlib.Path) -> list[pathlib.Path]:
  files = sorted(f for f in folder.rglob('*') if f.is_file())
  return [f.relative_to(folder) for f in files]


@pytest.mark.parametrize('damage', ['removed', 'cut', 'changed'])
def test_a_damaged_file_is_an_error_or_does_no_harm(tmp_path, damage):
  save(tmp_path / 'run', None)
  folder = tmp_path / 'run' / 'checkpoints' / '1'
  errors = 0
  for i, name in enumerate(stored_files(folder)):
    copy = tmp_path / str(i) / '1'
    shutil.copytree(folder, copy)
    content = bytearray((copy / name).read_bytes())
    if damage == 'removed':
      (copy / name).unlink()
    elif damage == 'cut':
      (copy / name).write_bytes(content[: len(content) // 2])
    else:
      content[len(content) // 2] ^= 16
      (copy / name).write_bytes(content)
    try:
      assert_same(restore(copy, make_state()), make_state(1))
    except CheckpointError as error:
      errors += 1
      assert str(copy) in str(error)
  assert errors >= 3


@pytest.mark.parametrize('item', ['state', 'metadata'])
def test_a_checkpoint_without_one_of_its_parts_is_corrupt(tmp_path, item):
  save(tmp_path, None)
  shutil.rmtree(tmp_path / 'checkpoints' / '1' / item)
  with pytest.raises(CheckpointError, match=f"corrupt .*expected .*'{item}'"):
    restore(tmp_path, make_state())


def test_values_that_changed_on_disk_are_noticed(tmp_path):
  values = np.random.default_rng(0).normal(size=10000).astype(np.float32)
  state = make_state()._replace(params={'w': jnp.array(values)}, opt_state=())
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state)
  folder = find_checkpoint(tmp_path)
  largest = max(folder.rglob('*'), key=lambda f: f.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 16
  largest.write_bytes(content)
  with pytest.raises(CheckpointError, match=r'corrupt .*params/w'):
    restore_params(tmp_path)


def test_a_half_written_checkpoint_is_never_seen(tmp_path):
  save(tmp_path, None)
  folder = tmp_path / 'checkpoints'
  shutil.copytree(folder / '1', folder / '7.orbax-checkpoint-tmp')
  assert find_checkpoint(tmp_path).name == '1'
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest() == folder / '1'
    checkpoints.save(make_state(2))
  assert kept(tmp_path) == [2]


def test_a_checkpoint_that_makes_room_goes_in_one_rename(tmp_path, monkeypatch):
  # As if the process was killed before it deleted what it had moved away.
  monkeypatch.setattr(shutil, 'rmtree', lambda *_, **__: None)
  save(tmp_path, None, None)
  monkeypatch.undo()
  moved = tmp_path / 'checkpoints' / '.deleted' / '1'
  assert restore_params(moved)[1]['batch_stats']['mean'][0] == 1
  assert find_checkpoint(tmp_path).name == '2'
  save(tmp_path, None, None, None)  # writes and deletes 1 and 2 once more
  assert kept(tmp_path) == [3]


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'leaves': []}, 'leaves is a list, expected an object'),
    ({'leaves': {'params/a': [[-1], 'float32', 0]}}, r'\[0\] is -1, expected'),
    ({'leaves': {'params/a': [[1], 'O', 0]}}, "is 'O', expected a dtype"),
    ({'leaves': {'params/a': [[1], ['f4'], 0]}}, 'is a list, expected a dtype'),
    ({'leaves': {'params/a': [[1]]}}, 'has 1 values, expected 3'),
    ({'scores': {'miou': 'x'}}, "scores.miou is 'x', expected a number"),
    ({'best': ['miou']}, 'best is a list, expected a text or null'),
  ],
)
def test_metadata_that_cannot_be_are_refused(tmp_path, change, message):
  save(tmp_path, 0.5)
  path = tmp_path / 'checkpoints' / '1' / 'metadata' / 'metadata'
  path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
  with pytest.raises(CheckpointError, match=message):
    restore_params(tmp_path)
