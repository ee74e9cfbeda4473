"""Videos into an index, encoded by a pipeline of Beam."""

import contextlib
import io
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.options.pipeline_options import (
  PipelineOptions,
  StandardOptions,
  TypeOptions,
  WorkerOptions,
)
from apache_beam.runners.runner import create_runner

from deltax.errors import DeltaxError
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.manifest import is_index
from deltax.retrieval.system import System
from deltax.systems.beam.remote import AnyFiles, find_anywhere
from deltax.systems.beam.shards import Shards
from deltax.systems.beam.videos import VideoHandler
from deltax.systems.folder import NAMES, SHIPPED
from deltax.systems.indexing import Added, index_found
from deltax.systems.known import NewFile
from deltax.systems.reading import Encoded

STORE = '.beam'  # behind the name of an index


def index_files(
  folder: str | os.PathLike,
  files: Iterable[str | os.PathLike],
  *,
  flags: Sequence[str] = (),
  model: str | os.PathLike | None = None,
  coarse_search: str = 'exact',
  coarse_address: str | None = None,
  store: str | os.PathLike | None = None,
  dtype: str | None = None,
  progress: bool = False,
) -> Added:
  """As `deltax.systems.index_files`, with videos encoded by a pipeline.

  A video that is encoded is kept in a store until it is in the index, and why
  one cannot be read is kept for good: if this is stopped, or killed, call it
  again, and no video is read that was. Of the store an index is made here, in
  the order of `deltax.systems.index_files`: it is the same, bit for bit, where
  workers compute in float32, as they do on CPUs.

  Args:
    folder: of the index, new or begun.
    files: as there; also addresses that Beam's file systems know, of files, of
      folders, or with `*`.
    flags: of the pipeline, as Beam's runners take them. None: it runs in this
      process.
    model: name or folder of a system, which every worker opens.
    coarse_search: as there.
    coarse_address: as there.
    store: folder or address where all workers can write; None: beside the
      index.
    dtype: floating-point type of the network that makes regions, 'float32' or
      'bfloat16'. None: bfloat16 on workers with an accelerator. The index is
      the same in float32 alone; it may be searched in any case.
    progress: whether to draw a bar while the index is written.

  Returns:
    What became of the files.

  Raises:
    FileNotFoundError, ValueError: as there; or a flag is wrong.
  """
  options = parsed(flags)
  FileSystems.set_options(options)  # as which region, and whose key
  found, listed = find_anywhere(files)
  place = _place(pathlib.Path(folder), model)
  store = os.fspath(store or f'{pathlib.Path(folder).resolve()}{STORE}')
  taken = []

  def encoder(
    system: System, new: Mapping[str, NewFile]
  ) -> Callable[[NewFile], Encoded]:
    shards = Shards(store, f'{system.fingerprint}{dtype or ""}')
    taken.append((shards, [file.file.content for file in new.values()]))
    handler = VideoHandler(place, system.fingerprint, dtype)
    encode_all(shards, new.values(), handler, options)
    return lambda file: shards.read(file.file.content)

  added = index_found(
    folder,
    found,
    model=place,
    coarse_search=coarse_search,
    coarse_address=coarse_address,
    progress=progress,
    encoder=encoder,
    files=AnyFiles(listed),
  )
  for shards, contents in taken:
    shards.drop(contents)
  return added


def encode_all(
  shards: Shards,
  files: Iterable[NewFile],
  handler: VideoHandler,
  options: PipelineOptions,
) -> None:
  """Runs the pipeline: from files to shards, of those that are not there yet.

  Args:
    shards: where to.
    files: to read.
    handler: what encodes a video.
    options: of the pipeline.

  Raises:
    DeltaxError: a worker has another model, or cannot write to the shards.
  """
  videos = {file.file.content: file.path for file in files}
  lacking = shards.lacking(videos)
  videos = [video for video in videos.items() if video[0] in lacking]
  if not videos:
    return
  shards.check()
  try:
    with beam.Pipeline(options=options) as pipeline:
      _ = (
        pipeline
        | 'videos' >> beam.Create(videos)
        | 'to all workers' >> beam.Reshuffle()
        # A runner repeats what has failed together with what had not.
        | 'not there yet' >> beam.Filter(lambda video: shards.lacks(video[0]))
        | 'encode' >> RunInference(KeyedModelHandler(handler))
        | 'keep' >> beam.MapTuple(shards.write)
      )
  except (RuntimeError, DeltaxError) as error:
    # Beam adds where it was, and may put a worker's traceback into a text.
    text = f'{type(error).__name__}: {error}'
    told = re.findall(r'DeltaxError: (.*?)(?: \[while .*)?$', text, re.M)
    if not told:
      raise
    raise DeltaxError(told[-1]) from error


def parsed(flags: Sequence[str]) -> PipelineOptions:
  """Options of a pipeline.

  Raises:
    DeltaxError: a flag has a wrong value, or there is no such runner.
  """
  told = io.StringIO()
  try:
    with contextlib.redirect_stderr(told):
      options = PipelineOptions(list(flags))
      options.get_all_options()
    runner = options.view_as(StandardOptions).runner or 'DirectRunner'
    create_runner(runner)
  except SystemExit as error:
    reason = told.getvalue().strip().rpartition('error: ')[2]
    raise DeltaxError(f'flags of Beam: {reason}') from error
  except (ValueError, ImportError, AttributeError) as error:
    raise DeltaxError(f'flags of Beam: {error}') from error
  # Of its two ways, the direct runner then takes the one within Python: it
  # would look for a program on the network first.
  options.view_as(TypeOptions).allow_unsafe_triggers = True
  worker = options.view_as(WorkerOptions)
  worker.default_sdk_harness_log_level = (
    worker.default_sdk_harness_log_level or 'ERROR'
  )
  return options


def _place(folder: pathlib.Path, model: str | os.PathLike | None) -> str:
  """The name or folder of a system, for all workers."""
  if model is None and is_index(folder):
    model = Index(folder).manifest['model'] or 'untrained'
  model = SHIPPED[0] if model is None else model
  return str(model if model in NAMES else pathlib.Path(model).resolve())
