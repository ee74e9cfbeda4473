"""Tests leave nothing behind that another one would notice."""

import pytest
from absl import logging


@pytest.mark.parametrize('time', ['first', 'next'])
def test_a_log_that_one_test_silences_is_heard_in_the_next(time, caplog):
  with caplog.at_level('INFO'):
    logging.info(time)
  assert caplog.messages == [time]
  logging.set_verbosity(logging.ERROR)
  logging.get_absl_logger().propagate = False
