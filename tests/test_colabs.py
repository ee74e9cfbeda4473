"""Every notebook runs, as a reader would run it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

COLABS = pathlib.Path(__file__).parents[1] / 'colabs'
SAYS = {
  'delta_quickstart': 'the stream equals the scanned clip: True',
  'retrieval_quickstart': 'packed bits give the scores of the network: True',
  'transformer_quickstart': 'the stream equals the scanned clip: True',
}

# What takes hundreds of steps of a program is compiled well, not fast.
COMPILED = {
  'delta_quickstart': {
    'XLA_FLAGS': '--xla_force_host_platform_device_count=4',
  },
}


def cells(path):
  """The code of a notebook, as one program."""
  code = []
  for cell in json.loads(path.read_text())['cells']:
    if cell['cell_type'] == 'code':
      # Only the cell that installs on Colab has shell commands.
      code += [
        line.replace('!', 'pass  #', 1) if line.strip()[:1] == '!' else line
        for line in ''.join(cell['source']).splitlines()
      ]
  return '\n'.join(code)


@pytest.mark.parametrize(
  'path', sorted(COLABS.glob('*.ipynb')), ids=lambda path: path.stem
)
def test_the_notebook_runs_from_top_to_bottom(path):
  # As a reader runs it, but as strictly as tests are.
  environment = {
    **os.environ,
    **COMPILED.get(path.stem, {}),
    'MPLBACKEND': 'agg',
    'JAX_NUMPY_RANK_PROMOTION': 'raise',
    'JAX_DEBUG_KEY_REUSE': '1',
  }
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', cells(path)],
    cwd=COLABS.parent,
    env=environment,
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert SAYS[path.stem] in done.stdout


@pytest.mark.parametrize(
  'path', sorted(COLABS.glob('*.ipynb')), ids=lambda path: path.stem
)
def test_notebooks_are_stored_without_outputs(path):
  for cell in json.loads(path.read_text())['cells']:
    assert not cell.get('outputs')
    assert cell.get('execution_count') is None
