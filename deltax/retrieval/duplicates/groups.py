"""Videos that are the same, directly or by others between them."""

from collections.abc import Iterable


def group(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
  """Numbers that pairs connect.

  >>> group([(4, 2), (7, 9), (2, 5)])
  [[2, 4, 5], [7, 9]]

  Args:
    pairs: of numbers.

  Returns:
    Groups in the order of their lowest numbers, each in rising order.
  """
  head: dict[int, int] = {}

  def top(number: int) -> int:
    while head.setdefault(number, number) != number:
      head[number] = head[head[number]]
      number = head[number]
    return number

  for a, b in pairs:
    first, second = sorted((top(a), top(b)))
    head[second] = first
  groups: dict[int, list[int]] = {}
  for number in sorted(head):
    groups.setdefault(top(number), []).append(number)
  return [groups[number] for number in sorted(groups)]
