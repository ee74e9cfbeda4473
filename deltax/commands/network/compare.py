"""Puts evaluated runs side by side: score against GMACs and against time.

    deltax compare runs/demo/delta runs/demo/skip --out pareto.html

RESULTS are folders of runs, or the files of results that `eval.py` wrote; all
of one metric, on the same data and frames of one size.
"""

import argparse
import os
import pathlib
from collections.abc import Sequence

from deltax import plain
from deltax.commands import folders
from deltax.report.compare import pareto
from deltax.report.compare.page import write_comparison


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    'results', type=pathlib.Path, nargs='+', help='folders of runs, or files'
  )
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help='the page to write'
  )
  parser.add_argument(
    '--title', default='Runs side by side', help='of the page'
  )


def run(arguments: argparse.Namespace) -> None:
  """Reads, compares, writes and prints.

  Raises:
    FileNotFoundError: there are no results.
    ValueError: they are damaged, or cannot be compared.
  """
  write(arguments.results, arguments.out, arguments.title)


def write(
  results: Sequence[pathlib.Path], out: pathlib.Path, title: str
) -> None:
  """See `run`.

  Args:
    results: folders of runs, or files.
    out: the page.
    title: of the page.
  """
  paths = [path / 'results.json' if path.is_dir() else path for path in results]
  folders.check_apart(out, *paths)
  folders.check_file(out)
  runs = {
    name: _read(path) for name, path in zip(names_of(paths), paths, strict=True)
  }
  compared = pareto.compare(runs)
  write_comparison(out, compared, title)
  print(pareto.text(compared))
  print(f'\nThe page: {out}')


def names_of(paths: Sequence[str | os.PathLike]) -> list[str]:
  """Short names of runs: what their folders do not have in common.

  Args:
    paths: of files of results.

  Raises:
    ValueError: one is given twice.

  Example:
    >>> names_of(['runs/demo/delta/results.json', 'runs/other/results.json'])
    ['demo/delta', 'other']
  """
  folders = []
  for path in map(pathlib.Path, paths):
    own = path.absolute()
    own = own.parent if own.name == 'results.json' else own.with_suffix('')
    if own in folders:
      raise ValueError(f'{path} is given twice')
    folders.append(own)
  common = os.path.commonpath([folder.parent for folder in folders])
  return [folder.relative_to(common).as_posix() for folder in folders]


def _read(path: pathlib.Path) -> dict:
  if not path.is_file():
    raise FileNotFoundError(f'no results at {path}; eval.py writes them')
  return plain.read_json(path, problem='holds no results, or is damaged')
