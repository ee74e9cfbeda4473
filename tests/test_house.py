"""The house is kept: sizes of functions, files and folders; a seam to flax."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = sorted((ROOT / 'deltax').rglob('*.py'))
CODE = [
  *PACKAGE,
  *sorted((ROOT / 'configs').glob('*.py')),
  *sorted((ROOT / 'benchmarks').glob('*.py')),
  *sorted(ROOT.glob('*.py')),
]
LINES_OF_A_FUNCTION = 60  # its docstring not counted
LINES_OF_A_FILE = 400
FILES_OF_A_FOLDER = 12
# Who knows that networks are modules of flax. Trees of names are no modules:
# `flax.traverse_util` may be used by all.
MODULES = ('layers', 'models', 'delta/adapters', 'retrieval/networks')


def named(path):
  return path.relative_to(ROOT).as_posix()


def functions(tree, depth=0):
  """Every function of a syntax tree, and how many others it stands in."""
  for node in ast.iter_child_nodes(tree):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      yield node, depth
      yield from functions(node, depth + 1)
    else:
      yield from functions(node, depth)


def length(function):
  """Lines of a function's body, without its docstring."""
  body = function.body[ast.get_docstring(function) is not None :]
  return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def offenders(tree):
  """What is wrong with the functions of a file."""
  for function, depth in functions(tree):
    if length(function) > LINES_OF_A_FUNCTION:
      yield f'{function.name} has {length(function)} lines'
    if depth > 1:
      yield f'{function.name} is nested {depth} deep'


def test_functions_can_be_read():
  wrong = [
    f'{named(path)}: {offence}'
    for path in CODE
    for offence in offenders(ast.parse(path.read_text()))
  ]
  assert not wrong, '\n' + '\n'.join(wrong)


@pytest.mark.parametrize(
  ('code', 'count'),
  [
    ('def f():\n  """Doc."""\n' + '  x = 1\n' * 60, 0),
    ('def f():\n' + '  x = 1\n' * 61, 1),
    ('def f():\n  def g():\n    pass', 0),
    ('def f():\n  def g():\n    if 1:\n      def h():\n        pass', 1),
    ('class A:\n  def f(self):\n    def g():\n      pass', 0),
  ],
)
def test_what_cannot_be_read_is_found(code, count):
  assert len(list(offenders(ast.parse(code)))) == count


def test_files_and_folders_can_be_surveyed():
  long = [
    f'{named(path)} has {lines} lines'
    for path in CODE
    if (lines := len(path.read_text().splitlines())) > LINES_OF_A_FILE
  ]
  folders = {path.parent for path in PACKAGE}
  full = [
    f'{named(folder)} has {count} files'
    for folder in sorted(folders)
    if (count := len(list(folder.glob('*.py')))) > FILES_OF_A_FOLDER
  ]
  assert not long + full, '\n' + '\n'.join(long + full)


def imported(tree):
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def test_only_the_seams_know_of_flax_modules():
  wrong = [
    f'{named(path)} imports {name}'
    for path in PACKAGE
    for name in imported(ast.parse(path.read_text()))
    if name.split('.')[0] == 'flax' and name != 'flax.traverse_util'
    if not named(path.parent).startswith(
      tuple(f'deltax/{folder}' for folder in MODULES)
    )
  ]
  assert not wrong, '\n' + '\n'.join(wrong)


# The folders of a wing, from the top; a file imports from lower ones, from its
# own, and from the files that stand beside the folders.
ORDER = {
  'delta': ('search', 'run', 'deploy', 'passes', 'students', 'adapters'),
  'retrieval': ('duplicates', 'search', 'index', 'compare', 'networks'),
}
# What the files beside the folders of the delta wing are built from; `search`
# and `run` are built from them.
BUILT_ON = {
  'delta': ('search', 'run'),
  'retrieval': ('duplicates', 'search', 'index'),
}


def rooms(wing):
  """(file, its folder or '', folder or '' that it imports from)."""
  for path in sorted((ROOT / 'deltax' / wing).rglob('*.py')):
    inside = path.relative_to(ROOT / 'deltax' / wing).parts
    for name in imported(ast.parse(path.read_text())):
      parts = name.split('.')
      if parts[:2] == ['deltax', wing] and path.name != '__init__.py':
        own = inside[0] if len(inside) > 1 else ''
        target = parts[2] if parts[2] in ORDER[wing] else ''
        yield named(path), own, target


@pytest.mark.parametrize('wing', sorted(ORDER))
def test_folders_of_a_wing_import_down_only(wing):
  order = ORDER[wing]
  wrong = [
    f'{file} imports from {target}'
    for file, own, target in rooms(wing)
    if (target in BUILT_ON[wing] and not own)
    or (own and target and order.index(target) < order.index(own))
  ]
  assert not wrong, '\n' + '\n'.join(wrong)
