"""What people are told to install is this library, and not its namesake."""

import importlib.util
import json
import pathlib
import re
import tomllib
import types

import pytest

import deltax

ROOT = pathlib.Path(__file__).parents[1]
PLACES = (
  *('*.md', '*.toml', '*.py', 'Makefile', 'docs/**/*.md', 'deltax/**/*.py'),
  *('configs/**/*.py', 'benchmarks/**/*.py', 'colabs/**/*.ipynb', '.ci/*'),
)
NOTEBOOKS = sorted(ROOT.glob('colabs/*.ipynb'))
INSTALL = '!pip install --quiet "{source}"'
# The name alone, perhaps with extras or a version: no path, no `deltax-jax`.
NAMESAKE = re.compile(r'(?<![\w./-])deltax(?![\w/-]|\.\w)')


def wrong_installs(text):
  """Lines that would install another package."""
  return [
    line.strip()
    for line in text.splitlines()
    if (told := re.search(r'\b(pip3?|pipx|uv) (\w+ )*(install|add)\b.*', line))
    and NAMESAKE.search(told[0].partition(' #')[0])
  ]


@pytest.mark.parametrize(
  'line',
  [
    'pip install deltax',
    '!pip install --quiet deltax',
    "`pip install 'deltax[weights]'`",
    'python -m pip install -U deltax==0.1',
    'uv pip install deltax[report]',
    'uv add deltax',
  ],
)
def test_a_wrong_line_is_found(line):
  assert wrong_installs(f'first\n{line}\nlast') == [line]


@pytest.mark.parametrize(
  'line',
  [
    "pip install 'deltax-jax[weights]'",
    'pip install deltax_jax-0.1.0-py3-none-any.whl',
    "pip install -e '.[test]'",
    'pip install ./deltax',
    '!pip install --quiet {source}',
    'deltax needs this: pip install faiss-cpu',
    'import deltax  # pip installs it',
    'pip install deltax-jax  # imported as deltax',
  ],
)
def test_a_right_line_is_not(line):
  assert not wrong_installs(line)


def test_no_line_anywhere_installs_the_namesake():
  files = {path for place in PLACES for path in ROOT.glob(place)}
  told = [path for path in files if 'pip install' in path.read_text('utf-8')]
  assert len(told) >= 6  # notebooks, README, messages
  wrong = {path: wrong_installs(path.read_text('utf-8')) for path in told}
  assert not {path: lines for path, lines in wrong.items() if lines}


def test_the_distribution_has_a_name_of_its_own_and_one_version():
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())
  assert project['project']['name'] == 'deltax-jax'
  assert 'version' not in project['project']
  assert project['tool']['hatch']['version']['path'] == 'deltax/__init__.py'
  extras = project['project']['optional-dependencies']
  assert not NAMESAKE.search(json.dumps(extras))
  assert re.fullmatch(r'\d+\.\d+\.\d+', deltax.__version__)


def installed_by(notebook):
  """What the one installing cell of a notebook would install here."""
  cells = json.loads(notebook.read_text())['cells']
  codes = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
  (code,) = (code for code in codes if 'pip install' in code)
  assert code.count(INSTALL) == 1
  installed = []
  recorded = code.replace(INSTALL, 'installed.append(source)')
  exec(recorded, {'installed': installed})
  return installed


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize('there', ['wheel', 'checkout', 'clone', 'nothing'])
def test_a_notebook_installs_what_lies_there(
  tmp_path, monkeypatch, notebook, there
):
  folder = tmp_path / 'deltax' / 'colabs'
  folder.mkdir(parents=True)
  expected = 'deltax-jax'
  if there in ('wheel', 'checkout'):
    (tmp_path / 'deltax/deltax/delta').mkdir(parents=True)
    expected = tmp_path / 'deltax'
  if there == 'wheel':
    expected = folder / 'deltax_jax-0.1.0-py3-none-any.whl'
    expected.touch()
  if there == 'clone':
    (folder / 'deltax/deltax/delta').mkdir(parents=True)
    expected = folder / 'deltax'
  monkeypatch.chdir(folder)
  # A folder `deltax` in the working folder looks like a package to Python.
  monkeypatch.setattr(
    *(importlib.util, 'find_spec'),
    lambda name: types.SimpleNamespace(origin=None),
  )
  assert installed_by(notebook) == [expected]


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_installs_nothing_where_the_library_is(notebook):
  assert not installed_by(notebook)
