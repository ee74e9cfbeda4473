"""The page of faults says what the code says, and every row has its test.

So has every row on what people's files do.
"""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / 'docs' / 'faults.md'
VIDEOS = ROOT / 'docs' / 'your-videos.md'
LEAST = 20  # rows


def rows():
  """Fault, message, what is kept and test of all rows."""
  for line in PAGE.read_text().splitlines():
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    if line.startswith('|') and cells[0] not in ('fault', '---'):
      yield cells


def texts():
  """All that the library says: strings, with … where something is put in."""
  for path in (ROOT / 'deltax').rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.JoinedStr):
        yield ''.join(
          part.value if isinstance(part, ast.Constant) else '…'
          for part in node.values
        )
      elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.sub('%[ds]', '…', node.value)


def is_test(place):
  file, _, name = place.strip('`').partition('::')
  tree = ast.parse((ROOT / file).read_text())
  return name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_every_row_has_a_test():
  assert len(list(rows())) >= LEAST
  for fault, *_, test in rows():
    assert is_test(test), f'{fault}: no test {test}'


def test_every_row_on_files_has_a_test():
  tests = re.findall('`(tests/.*?)`', VIDEOS.read_text())
  assert len(tests) >= LEAST
  assert not [test for test in tests if not is_test(test)]


def test_every_message_is_what_the_code_says():
  said = list(texts())
  for fault, message, *_ in rows():
    for quoted in re.findall('`([^`]+)`', message):
      parts = [part.strip() for part in quoted.split('…') if part.strip(' ;:')]
      pattern = '.*'.join(map(re.escape, parts))
      assert max(map(len, parts)) > 9, f'{fault}: {quoted}'
      found = any(re.search(pattern, text, re.S) for text in said)
      assert found, f'{fault}: nothing says {quoted!r}'
