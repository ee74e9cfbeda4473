"""Answers searches of an index over HTTP, and has a page to drop a video on.

    deltax serve my.index
    curl --data-binary @query.mp4 'http://127.0.0.1:8000/searches?wait=60'

Searches are done one after the other; where too many wait, more are refused
with status 503, to be asked again. A video that is sent lies in a temporary
folder until it was searched for. Ctrl-C and SIGTERM end the server when what it
has taken on is done. There is no password: whoever reaches the address may
search.
"""

import argparse
import math
import pathlib
import tempfile

from deltax import files
from deltax.commands.serving.answers import Answers
from deltax.commands.serving.jobs import Jobs, Limits
from deltax.commands.videos import options

USUAL = Limits()


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('index', type=pathlib.Path, help='folder of the index')
  parser.add_argument(
    '--host',
    default='127.0.0.1',
    help='address to listen on, 0.0.0.0 for all; default: %(default)s, which '
    'this machine alone reaches',
  )
  parser.add_argument(
    '--port', type=int, default=8000, help='default: %(default)s; 0: a free one'
  )
  parser.add_argument(
    '--queue',
    type=int,
    default=USUAL.places,
    metavar='SEARCHES',
    help='that may wait, with those whose video is being sent; default: '
    '%(default)s',
  )
  parser.add_argument(
    '--limit-mb',
    type=float,
    default=USUAL.upload / 1e6,
    metavar='MB',
    help='of a video; default: %(default)g',
  )
  parser.add_argument(
    '--limit-minutes',
    type=float,
    default=60.0,
    metavar='MINUTES',
    help='that a video may last; default: %(default)g',
  )
  parser.add_argument(
    '--budget',
    type=int,
    default=100,
    metavar='PAIRS',
    help='videos that are compared frame by frame; default: %(default)s',
  )
  options.add_model(parser, 'the one that the index was built with')


def run(arguments: argparse.Namespace) -> None:
  """Opens the index, listens, and serves until it is told to stop.

  Raises:
    FileNotFoundError: there is no index or no model.
    ValueError: the model is another, an option is out of range, or the port is
      taken.
    ImportError: what serves HTTP is not installed.
  """
  _check_options(arguments)
  try:
    from deltax.commands.serving import app, server
  except ImportError as error:
    raise ImportError(
      "serving needs FastAPI and uvicorn: pip install 'deltax-jax[serve]'"
    ) from error
  limits = USUAL._replace(
    places=arguments.queue, upload=int(arguments.limit_mb * 1e6)
  )
  scratch = pathlib.Path(tempfile.gettempdir(), 'deltax-serve')
  with server.bind(arguments.host, arguments.port) as listening:
    answers = Answers(
      arguments.index,
      arguments.model,
      arguments.budget,
      60 * arguments.limit_minutes,
    )
    with (
      files.scratch(scratch) as folder,
      Jobs(answers, folder, limits) as jobs,
    ):
      made = app.make_app(jobs, answers.about, limits)
      print(
        f'{answers.about()["videos"]:,} videos of {arguments.index} at '
        f'{server.address_of(listening)} (Ctrl-C stops)',
        flush=True,
      )
      server.Server(made, jobs).run([listening])


def _check_options(arguments: argparse.Namespace) -> None:
  """Raises a ValueError that names the option which is out of range."""
  if not 0 <= arguments.port < 65536:
    raise ValueError(f'--port is 0 to 65535, got {arguments.port}')
  for name in ('queue', 'limit_mb', 'limit_minutes'):
    value = getattr(arguments, name)
    if not (value > 0 and math.isfinite(value)):
      option = name.replace('_', '-')
      raise ValueError(f'--{option} is more than 0, got {value}')
  if arguments.budget < 0:
    raise ValueError(f'--budget is at least 0, got {arguments.budget}')
