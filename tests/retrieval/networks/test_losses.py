"""Losses: the published numbers, definitions, and edges."""

import dns_rule
import jax
import jax.numpy as jnp
import numpy as np

from deltax.retrieval.networks import losses


def test_single_losses_are_as_published():
  golden = dns_rule.load('losses.npz')
  penalty = losses.penalty(golden['sim'])
  assert penalty.shape == (3,)
  np.testing.assert_allclose(penalty.sum(), golden['reg'], rtol=1e-6)
  positive, negative = golden['pos'], golden['neg']
  for found, name in (
    (losses.triplet(positive, negative, margin=1.0), 'triplet_sim'),
    (losses.triplet(-positive, -negative, margin=1.0), 'triplet_dist'),
    (losses.triplet(positive, negative), 'triplet_sim_half'),
  ):
    np.testing.assert_allclose(found.mean(), golden[name], rtol=1e-6)


def test_losses_of_views_are_as_published():
  golden = dns_rule.load('s2vs.npz')
  similarities, alike = golden['loss_sim'], golden['ssl_labels']
  for found, name in (
    (losses.contrast(similarities, alike), 'loss_infonce_t003'),
    (losses.contrast(similarities, alike, 0.07), 'loss_infonce_t007'),
    (losses.hardest_negative(similarities, alike), 'loss_hardneg'),
    (losses.self_match(similarities), 'loss_self'),
  ):
    assert found.shape == (6,)
    np.testing.assert_allclose(found.mean(), golden[name], rtol=1e-5)


def test_a_view_without_positives_or_negatives_gives_zero():
  similarities = jnp.full((3, 3), 0.9)
  alone, together = jnp.eye(3), jnp.ones((3, 3))
  np.testing.assert_array_equal(losses.contrast(similarities, alone), 0)
  np.testing.assert_allclose(losses.contrast(similarities, together), 0)
  np.testing.assert_array_equal(
    losses.hardest_negative(similarities, together), 0
  )
  for loss in (losses.contrast, losses.hardest_negative):
    for alike in (alone, together):
      gradient = jax.grad(lambda s, a, f=loss: f(s, a).sum())(
        similarities, alike
      )
      assert np.isfinite(gradient).all()


def test_a_negative_that_equals_the_query_costs_a_bounded_amount():
  found = losses.hardest_negative(jnp.ones((2, 2)), jnp.eye(2))
  np.testing.assert_allclose(found, -np.log(1e-3), rtol=1e-6)


def test_the_distance_from_the_teacher_has_no_margin():
  found = losses.distillation(jnp.array([0.5, -1.0]), jnp.array([0.25, 1.0]))
  assert found.tolist() == [0.25, 2.0]


def test_selection_is_binary_cross_entropy():
  logits, labels = jnp.array([2.0, -200.0]), jnp.array([0.0, 1.0])
  found = losses.selection(logits, labels)
  np.testing.assert_allclose(found, [np.log1p(np.exp(2)), 200], rtol=1e-6)
