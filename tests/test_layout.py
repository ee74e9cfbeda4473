"""docs/layout.md shows the folders and arrows that the package has."""

import ast
import collections
import importlib.util
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def load(name):
  """A file of tests, which are no package."""
  path = ROOT / 'tests' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


ARCHITECTURE = load('test_architecture')


def folder_of(name):
  """The folder below deltax/ that a dotted name lies in; of a file there, it.

  >>> folder_of('deltax.delta.run.streamer.Streamer'), folder_of('deltax.types')
  ('delta/run', 'types')
  """
  parts = name.split('.')[1:]
  while parts:
    path = ROOT.joinpath('deltax', *parts)
    if path.is_dir():
      return '/'.join(parts)
    if path.with_suffix('.py').is_file():
      return '/'.join(parts[:-1] or parts)
    parts.pop()
  return ''  # the version


def measured():
  """`{folder: folders}`: whole rooms import rooms, folders those beside them.

  What an `__init__` gathers for users counts between rooms only.
  """
  arrows = collections.defaultdict(set)
  for path in ROOT.glob('deltax/**/*.py'):
    file = path.relative_to(ROOT / 'deltax')
    if file.as_posix() == '__init__.py' or file.stem == '__main__':
      continue
    folder = file.parent.as_posix() if len(file.parts) > 1 else file.stem
    arrows[folder]  # which may import nothing
    for name in our_imports(path):
      target = folder_of(name)
      room, other = folder.split('/')[0], target.split('/')[0]
      if other and room != other:
        arrows[room].add(other)
      elif other and folder != target and file.stem != '__init__':
        arrows[folder].add(target)
  return {folder: sorted(targets) for folder, targets in arrows.items()}


def our_imports(path):
  names = ARCHITECTURE.imports(ast.parse(path.read_text()))
  return [name for name in names if name.split('.')[0] == 'deltax']


def pictures():
  """The blocks of the page."""
  text = (ROOT / 'docs/layout.md').read_text()
  return re.findall(r'^```text\n(.*?)^```$', text, re.M | re.S)


def written():
  """The same, from the page."""
  found = {}
  for line in '\n'.join(pictures()).splitlines():
    about, arrow, targets = line.partition('->')
    if arrow:
      name = about.split()[0]
      found[name] = sorted({*found.get(name, ()), *targets.split()})
  return found


def test_the_arrows_of_the_layout_are_those_of_the_code():
  found, expected = written(), measured()
  lines = [
    f'{folder} -> {" ".join(expected[folder])}'
    for folder in sorted(expected)
    if found.get(folder) != expected[folder]
  ]
  gone = sorted(set(found) - set(expected))
  assert not lines and not gone, (
    'in docs/layout.md, these lines should be:\n'
    + '\n'.join(lines)
    + f'\nand these are of no folder: {gone}'
  )


def test_the_floors_of_the_layout_are_those_of_the_architecture():
  picture = pictures()[0]
  floors = [
    {line.split()[0] for line in floor.splitlines() if '->' in line}
    for floor in re.split(r'^-+$', picture, flags=re.M)
  ]
  rooms = {folder.split('/')[0] for folder in measured()}
  expected = [set(floor) & rooms for floor in ARCHITECTURE.FLOORS]
  assert list(filter(None, floors)) == list(filter(None, expected))
