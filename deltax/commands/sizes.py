"""Frame sizes, as they are typed."""

import re


def read_size(text: str, example: str = '128x256') -> tuple[int, int]:
  """Rows and columns of a text such as the example.

  Raises:
    ValueError: it is no such text, or one of them is 0.
  """
  found = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
  if not found:
    raise ValueError(
      f'--size is rows x columns such as {example}, got {text!r}'
    )
  return int(found[1]), int(found[2])
