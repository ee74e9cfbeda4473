"""Opens a tfds data set, and writes its files first where there are none."""

import array
import contextlib
import functools
import io
import os
import pathlib
import tempfile
from unittest import mock

import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core import shuffle

from deltax import files


def prepared(
  builder_class: type[tfds.core.GeneratorBasedBuilder],
  data_dir=None,
  *,
  config: tfds.core.BuilderConfig | None = None,
  find_manual_dir=None,
) -> tfds.core.DatasetBuilder:
  """A builder whose files are there, in array_record format.

  Args:
    builder_class: which data set; it keeps its records in order
      (`disable_shuffling`).
    data_dir: where data sets live; None for the environment's DELTAX_DATA, or
      else `~/.cache/deltax`. An interrupted build leaves no data set there.
    config: of the builder.
    find_manual_dir: `() -> path` of files that were fetched by hand; called if
      there is something to build.
  """
  folder = pathlib.Path(
    data_dir or os.environ.get('DELTAX_DATA') or '~/.cache/deltax'
  ).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  # One process builds, the others wait.
  with _quiet(), files.locked(folder / f'{builder_class.name}.lock'):
    builder = builder_class(
      config=config, data_dir=folder, file_format='array_record'
    )
    if not builder.is_prepared():
      manual = find_manual_dir() if find_manual_dir else None
      download = tfds.download.DownloadConfig(manual_dir=manual)
      with contextlib.ExitStack() as stack:
        spool = functools.partial(_Spool, stack)
        stack.enter_context(mock.patch.object(shuffle, 'Shuffler', spool))
        builder.download_and_prepare(download_config=download)
  return builder


class _Spool:
  """Holds a split's records until tfds knows how many files to write.

  Takes the place of tfds' own shuffler, which sorts more than a gigabyte of
  records through TensorFlow's files.
  """

  def __init__(
    self, stack, dirpath, hash_salt, disable_shuffling, ignore_duplicates
  ):
    del hash_salt, ignore_duplicates
    if not disable_shuffling:
      raise ValueError('only data sets that keep their order can be built')
    os.makedirs(dirpath, exist_ok=True)
    self._file = stack.enter_context(tempfile.TemporaryFile(dir=dirpath))
    self._lengths = array.array('Q')
    self.size = 0

  @property
  def num_examples(self) -> int:
    return len(self._lengths)

  @property
  def bucket_lengths(self) -> list[int]:
    return [self.num_examples]

  def add(self, key: int, data: bytes) -> None:
    del key
    self._file.write(data)
    self._lengths.append(len(data))
    self.size += len(data)

  def __iter__(self):
    self._file.seek(0)
    for key, length in enumerate(self._lengths):
      yield key, self._file.read(length)
    self._file.close()


@contextlib.contextmanager
def _quiet():
  """Hides what tfds says of downloads and configs, and its progress bars."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  tfds.disable_progress_bar()  # ours knows how much there is to do
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.enable_progress_bar()
    logging.set_verbosity(verbosity)
