import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.boxes import iou
from deltax.boxes.sampling import assign, sample

RULES = {'positive': 0.7, 'negative': 0.3, 'lowest': 0.3}


def slow(boxes, truths, classes, among, *, positive, negative, lowest):
  """The rule of the docstring, box by box."""
  found = [-2] * len(boxes)
  overlap = np.asarray(iou(boxes, truths))
  real = [j for j in range(len(truths)) if classes[j] >= 0]
  some = [i for i in range(len(boxes)) if among[i]]
  for i in some:
    most = max((overlap[i, j] for j in real), default=0)
    if most < negative:
      found[i] = -1
    if most >= positive:
      found[i] = next(j for j in real if overlap[i, j] == most)
  for j in real:
    reach = max((overlap[i, j] for i in some), default=0)
    for i in some:
      if reach >= lowest and overlap[i, j] == reach:
        found[i] = j
  return found


def scene(seed, count=60, truths=8):
  keys = iter(jax.random.split(jax.random.key(seed), 6))

  def boxes(count):
    corner, side = jax.random.uniform(next(keys), (2, count, 2))
    corner = jnp.round(20 * corner)
    return jnp.concatenate([corner, corner + 4 + jnp.round(12 * side)], 1)

  classes = jax.random.randint(next(keys), (truths,), -1, 3)
  among = jax.random.bernoulli(next(keys), 0.8, (count,))
  return boxes(count), boxes(truths), classes, among


@pytest.mark.parametrize('seed', range(5))
def test_boxes_are_assigned_by_the_definition(seed):
  boxes, truths, classes, among = scene(seed)
  for rules in (RULES, {'positive': 0.5, 'negative': 0.5, 'lowest': 0.5}):
    found = jax.jit(functools.partial(assign, **rules))(
      boxes, truths, classes, among=among
    )
    expected = slow(boxes, truths, classes, among, **rules)
    np.testing.assert_array_equal(found, expected)
    assert (found >= 0).any() and (found == -1).any()


def test_a_frame_without_truths_is_background():
  boxes, truths, _, among = scene(0)
  absent = jnp.full(len(truths), -1)
  found = assign(boxes, truths, absent, among=among, **RULES)
  np.testing.assert_array_equal(found, jnp.where(among, -1, -2))


def test_an_absent_truth_is_never_found():
  boxes, truths, classes, among = scene(1)
  moved = jnp.where((classes < 0)[:, None], boxes[:1], truths)
  assert (moved != truths).any()
  found, same = (
    assign(boxes, x, classes, among=among, **RULES) for x in (truths, moved)
  )
  np.testing.assert_array_equal(found, same)


def drawn(assigned, seed=0, **options):
  indices, taken = sample(jax.random.key(seed), assigned, **options)
  return assigned[indices], indices, taken


def test_a_share_of_the_sample_has_a_truth():
  assigned = jnp.array([3] * 30 + [-1] * 200 + [-2] * 20)
  values, indices, taken = drawn(assigned, count=40, share=0.25)
  assert taken.all() and len(set(indices.tolist())) == 40
  assert (values >= 0).sum() == 10 and (values == -1).sum() == 30


def test_background_fills_up_where_truths_are_few():
  assigned = jnp.array([0, 1] + [-1] * 100)
  values, _, taken = drawn(assigned, count=40, share=0.5)
  assert taken.all() and (values >= 0).sum() == 2


def test_truths_do_not_fill_up_where_background_is_short():
  assigned = jnp.array([0] * 50 + [-1] * 5 + [-2] * 40)
  values, _, taken = drawn(assigned, count=40, share=0.25)
  assert taken.sum() == 15
  assert (values[taken] >= 0).sum() == 10 and (values[taken] == -1).sum() == 5


def test_few_boxes_are_all_drawn():
  values, _, taken = drawn(jnp.array([-1, 0, -2]), count=9, share=0.5)
  assert values.shape == taken.shape == (3,)
  assert sorted(values[taken].tolist()) == [-1, 0]


def test_every_box_is_as_likely_as_another():
  assigned = jnp.array([0] * 6 + [-1] * 12)
  keys = jax.random.split(jax.random.key(0), 600)

  def chosen(key):
    indices, taken = sample(key, assigned, count=8, share=0.5)
    return jnp.zeros(18).at[indices].add(taken)

  counts = jax.vmap(chosen)(keys).mean(0)
  np.testing.assert_allclose(counts[:6], 4 / 6, atol=0.1)
  np.testing.assert_allclose(counts[6:], 4 / 12, atol=0.1)
