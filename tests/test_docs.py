"""What the pages show holds: snippets run, links lead, names exist.

Python of a page runs from top to bottom in one namespace. Commands are parsed
by the parsers of the real ones; those on videos run, on small ones made here.
"""

import argparse
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib
from typing import NamedTuple

import dns_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_states
import torch_writer as torch
from PIL import Image

from deltax import commands, models, training
from deltax.data.video.files import write_video

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ['README.md', 'RESULTS.md', 'CHANGELOG.md'] + sorted(
  path.relative_to(ROOT).as_posix() for path in ROOT.glob('docs/*.md')
)
LANGUAGES = {'python', 'sh', 'text'}
# Snippets that are not tried, by how they begin, and why.
EXEMPT = {
  'git clone': 'needs the network',
  'cd ': 'follows a clone',
}
# Commands that are run where a page of these shows them, in its order.
RUN_ON = ('README.md', 'docs/your-videos.md')
RUN = ('index', 'add', 'search', 'info', 'remove')
NEEDS_A_SYSTEM = '--model'  # trained: these lines are parsed only
LONGEST_README = 200  # lines


class Snippet(NamedTuple):
  """A fenced block of a page."""

  page: str
  line: int
  language: str
  text: str

  def __str__(self):
    return f'{self.page}:{self.line}'


def snippets(page, *languages):
  text = (ROOT / page).read_text()
  for match in re.finditer(r'^```(\w*)\n(.*?)^```$', text, re.M | re.S):
    line = text.count('\n', 0, match.start()) + 2
    if not languages or match[1] in languages:
      yield Snippet(page, line, match[1], match[2])


def commands_of(page):
  """Commands of a page's shell snippets, each as its words."""
  for snippet in snippets(page, 'sh'):
    for line in snippet.text.replace('\\\n', ' ').splitlines():
      words = shlex.split(line, comments=True)
      while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
        words = words[1:]  # variables of the environment
      if words and not ' '.join([*words, '']).startswith(tuple(EXEMPT)):
        yield snippet, words


def having(pages, found):
  return [page for page in pages if next(iter(found(page)), None)]


@pytest.mark.parametrize('page', PAGES)
def test_every_snippet_says_what_it_is(page):
  for snippet in snippets(page):
    assert snippet.language in LANGUAGES, snippet


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
  text = (ROOT / page).read_text()
  for target in re.findall(r'\]\(([^)\s]+)\)', text):
    file, _, anchor = target.partition('#')
    if '://' in target:
      continue
    path = (ROOT / page).parent / file if file else ROOT / page
    assert path.exists(), f'{page}: {target}'
    if anchor:
      assert anchor in anchors(path), f'{page}: {target}'


def anchors(path):
  """Anchors of a page's headings, as the sites that show it make them."""
  text = re.sub(r'^```.*?^```$', '', path.read_text(), flags=re.M | re.S)
  headings = re.findall(r'^#+ (.*)$', text, re.M)
  return {
    re.sub(r'[^\w\- ]', '', heading).strip().replace(' ', '-').lower()
    for heading in headings
  }


def names_of(page):
  """Dotted names of ours in the text of a page; of moves, the new ones."""
  text = (ROOT / page).read_text()
  for line in re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S).splitlines():
    if page == 'CHANGELOG.md':
      line = line.split('|')[2] if line.count('|') == 3 else ''
    for start, ends in re.findall(r'`(deltax[\w.]+)(?:\{([\w,]+)\})?', line):
      if '.' in start:
        yield from (start + end for end in ends.split(','))


def exists(name):
  """Whether a module has this name, or something in one."""
  parts = name.split('.')
  for count in range(len(parts), 0, -1):
    try:
      value = importlib.import_module('.'.join(parts[:count]))
    except ModuleNotFoundError:
      continue
    return all(
      (value := getattr(value, part, None)) is not None
      for part in parts[count:]
    )
  return False


@pytest.mark.parametrize('page', having(PAGES, names_of))
def test_names_of_the_library_exist(page):
  assert not [name for name in names_of(page) if not exists(name.rstrip('.*'))]


def test_the_readme_is_short():
  assert len((ROOT / 'README.md').read_text().splitlines()) <= LONGEST_README


# Python.


def film(seed, seconds, rate=4):
  """Blurred noise, another picture every second."""
  rng = np.random.default_rng(seed)
  noise = rng.integers(0, 256, (seconds, 8, 8, 3), np.uint8)
  frames = [np.array(Image.fromarray(x).resize((64, 64))) for x in noise]
  return np.repeat(np.stack(frames), rate, 0)


def torch_file(path, state):
  tensors = {
    key: torch.Tensor(torch.Storage(np.asarray(array), str(number)))
    for number, (key, array) in enumerate(state.items())
  }
  torch.save(path, {'state_dict': tensors})


def published(path, name):
  """A file of random weights, as the network was published."""
  net = models.create(name, num_classes=19)
  frame = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
  shapes = jax.eval_shape(net.init, jax.random.key(0), frame)
  torch_file(path, torch_states.plain_state(torch_states.drawn(shapes)))


def trained(path):
  """A run of few numbers."""
  state = training.TrainState(
    step=jnp.int32(1),
    params={'teacher': {'kernel': jnp.ones(3)}},
    model_state={},
    opt_state=(),
    key=jax.random.key(0),
  )
  about = {'task': {'model': 'ddrnet23_slim'}}
  with training.Checkpoints(path, metadata=about) as checkpoints:
    checkpoints.save(state)


@pytest.fixture
def desk(tmp_path, monkeypatch):
  """A folder with the files that the pages speak of, to work in."""
  for place, file in enumerate(('films/drive', 'films/bikes', 'more/world')):
    path = tmp_path / f'{file}.mp4'
    path.parent.mkdir(exist_ok=True)
    write_video(path, film(place, 8), 4)
  (tmp_path / 'others').mkdir()
  write_video(tmp_path / 'others/talk.mp4', film(9, 5), 4)
  write_video(tmp_path / 'query.mp4', film(0, 8)[4:24], 4)
  monkeypatch.chdir(tmp_path)
  return tmp_path


FILES = {
  'docs/checkpoints.md': (
    lambda: published('released.pth', 'ddrnet23_slim'),
    lambda: trained('runs/demo'),
  ),
  'docs/retrieval.md': (
    lambda: torch_file(
      'fine_attention.pth', dns_rule.weights('statedict_fg_att.json')
    ),
  ),
}


@pytest.mark.parametrize(
  'page', having(PAGES, lambda page: snippets(page, 'python'))
)
def test_python_runs_from_top_to_bottom(page, desk):
  for make in FILES.get(page, ()):
    make()
  namespace = {'__name__': '__main__'}
  for snippet in snippets(page, 'python'):
    padded = '\n' * (snippet.line - 1) + snippet.text
    exec(compile(padded, str(ROOT / page), 'exec'), namespace)


# The shell.


def module_of(name):
  folders = {
    name: folder
    for folder, (_, named) in commands.COMMANDS.items()
    for name in named
  }
  assert name in folders, f'no command {name!r}'
  return importlib.import_module(f'deltax.commands.{folders[name]}.{name}')


def check_deltax(words):
  name, *arguments = words[1:]
  if name in ('--help', '--version'):
    with pytest.raises(SystemExit) as left:
      commands.main([name])
    assert left.value.code == 0
    return
  module, parser = module_of(name), argparse.ArgumentParser(exit_on_error=False)
  module.configure(parser)
  own, _ = commands.parted(arguments, getattr(module, 'PASSES_ON', ''))
  parser.parse_args(own)


def check_benchmark(words):
  """Its parser is made when it runs, so its options are sought in its text."""
  source = (ROOT / words[1]).read_text()
  for option in words[2:]:
    if option.startswith('--'):
      assert f"'{option}'" in source, f'{words[1]} has no {option}'


def check_make(words):
  makefile = (ROOT / 'Makefile').read_text()
  for target in words[1:]:
    assert re.search(f'^{target}:', makefile, re.M), f'no target {target}'


def check_pip(words):
  """Ours by its name on the index, with extras that there are; or jax."""
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  for word in words[2:]:
    name, _, extras = word.rstrip(']').partition('[')
    if word not in ('-e', '-U') and name != 'jax':
      assert name in ('deltax-jax', '.'), word
      for extra in filter(None, extras.split(',')):
        assert extra in project['optional-dependencies'], word


def check_pytest(words):
  assert (ROOT / words[1]).exists(), words[1]


CHECKS = {
  'deltax': check_deltax,
  'make': check_make,
  'pip': check_pip,
  'pytest': check_pytest,
}


@pytest.mark.parametrize('page', having(PAGES, commands_of))
def test_commands_are_known_and_take_what_they_are_given(page):
  for snippet, words in commands_of(page):
    check = CHECKS.get(words[0])
    if words[0] == 'python':
      assert (ROOT / words[1]).is_file(), words[1]
      check = check_benchmark if words[1].startswith('benchmarks/') else None
      if check is None:
        assert words[1] in ('train.py', 'eval.py'), words  # tried below
        continue
    assert check, f'{snippet}: nothing checks {words}; say why in EXEMPT'
    try:
      check(words)
    except (SystemExit, argparse.ArgumentError) as error:
      raise AssertionError(f'{snippet}: {shlex.join(words)}') from error


# In a process of its own, as a flag can be defined once. The parser of configs
# looks at sys.argv.
PARSED = """
import importlib, json, sys
from absl import flags

for line in json.load(sys.stdin):
  before, sys.argv = set(flags.FLAGS), line
  name = line[0].removesuffix('.py')
  importlib.import_module(name)
  flags.FLAGS(line)
  flags.FLAGS.config.to_dict()
  del sys.modules[name]
  for flag in set(flags.FLAGS) - before:
    delattr(flags.FLAGS, flag)
"""


def test_train_and_eval_know_the_flags_and_the_values_of_configs():
  lines = [
    words[1:]
    for page in PAGES
    for _, words in commands_of(page)
    if words[0] == 'python' and words[1] in ('train.py', 'eval.py')
  ]
  done = subprocess.run(
    [sys.executable, '-c', PARSED],
    input=json.dumps(lines),
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize('page', RUN_ON)
def test_commands_on_videos_run(page, desk, capsys):
  done = set()
  for _, words in commands_of(page):
    if words[0] == 'deltax' and words[1] in RUN and NEEDS_A_SYSTEM not in words:
      commands.main(words[1:])
      done.add(words[1])
  assert {'index', 'search'} <= done
  assert 'drive.mp4' in capsys.readouterr().out
