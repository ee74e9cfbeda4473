"""A spec from plain values, as configs and checkpoints hold them."""

import pytest

from deltax.delta import make_spec


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'candidates': (3,)}, 'a candidate is 3, expected its name'),
    ({'candidates': ((),)}, r'a candidate is \(\), expected its name'),
    ({'candidates': ((['full'],),)}, r"no candidate \['full'\]; known: full"),
    ({'candidates': (('full', 1, 2, 3),)}, r"'full' cannot have the argum.*1"),
    ({'block_candidates': ('residual',)}, "a candidate is 'residual'"),
    ({'layers': ['all']}, r"no rule \['all'\]; known"),
    ({'nothing': 3}, 'a spec has no option nothing'),
  ],
)
def test_a_spec_that_cannot_be_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    make_spec(**options)
