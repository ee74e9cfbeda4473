"""Whole videos in `RunInference`: read, put into regions, encoded."""

import contextlib
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler

from deltax import compilation
from deltax.errors import DeltaxError
from deltax.identity import is_elsewhere
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.system import System
from deltax.systems import folder as system_folder
from deltax.systems.beam.handler import JaxModelHandler
from deltax.systems.extractors import CHUNK, Extractor
from deltax.systems.reading import Encoded, encode_video, read_parts


class Failed(NamedTuple):
  """Why a video was not encoded.

  Attributes:
    reason: a sentence that names its file.
    lasting: whether it is of the file, and not of how it was reached.
  """

  reason: str
  lasting: bool


Encode = Callable[[str], Encoded | Failed]


class VideoHandler(ModelHandler[str, Encoded | Failed, Encode]):
  """From paths of videos to what an index keeps of them.

  Regions come from a `JaxModelHandler`, in batches of frames. A video is read
  part by part, so that of a long one, too, only what is kept of it is in
  memory. In float32, as on a CPU, codes are those of
  `deltax.systems.index_files`, bit for bit. An extractor with students, whose
  frames depend on those before, runs as it is, in float32.

  Args:
    model: name or folder of a system; each worker opens it.
    fingerprint: that it must have there.
    dtype: of the network that makes regions, as of a `JaxModelHandler`.
  """

  def __init__(self, model: str, fingerprint: str, dtype: str | None = None):
    super().__init__()
    self._model, self._fingerprint = model, fingerprint
    self._dtype = dtype
    self._launcher = os.getpid()

  def batch_elements_kwargs(self) -> Mapping[str, int]:
    """Videos come one by one, to be on the disk as soon as they are done."""
    return {'min_batch_size': 1, 'max_batch_size': 1}

  def load_model(self) -> Encode:
    """Opens the system, and compiles for it.

    Raises:
      ValueError: it is not the one that the index is of.
    """
    if os.getpid() != self._launcher:
      compilation.set_up()  # a worker is a program of its own
    system = system_folder.open_system(self._model)
    if system.fingerprint != self._fingerprint:
      raise DeltaxError(
        f'the model {self._model} is {system.fingerprint} on a worker, and '
        f'{self._fingerprint} where the pipeline was started'
      )
    if 'interval' not in system.extract.description:
      frames = JaxModelHandler(
        lambda: parts_of(system.extract), batch_size=CHUNK, dtype=self._dtype
      )
      system = system._replace(extract=frames.load_model())
    return functools.partial(encode_file, system, FineSearch(system.fine))

  def run_inference(
    self,
    batch: Sequence[str],
    model: Encode,
    inference_args: dict[str, Any] | None = None,
  ) -> Iterable[Encoded | Failed]:
    """Encodes the videos of some paths."""
    return map(model, batch)

  def get_num_bytes(self, batch: Sequence[str]) -> int:
    """Of paths; videos are not sent."""
    return sum(map(len, batch))


def encode_file(
  system: System, fine: FineSearch, path: str
) -> Encoded | Failed:
  """Reads and encodes a file; tells what is wrong with it by its own path.

  Args:
    system: that encodes it.
    fine: the search of its fine student.
    path: of a file of this machine, or an address that Beam knows.
  """
  name = path
  try:
    with local(path) as name:
      return encode_video(system, fine, read_parts(system, name))
  except OSError as error:
    return Failed(str(error).replace(name, path), lasting=False)
  except ValueError as error:
    return Failed(str(error).replace(name, path), lasting=True)


def parts_of(extractor: Extractor) -> tuple[Callable, Any]:
  """A function of weights and frames, and the weights."""
  run = extractor.run.func
  return lambda weights, frames: run(*weights, frames), extractor.run.args


@contextlib.contextmanager
def local(path: str) -> Iterator[str]:
  """The path of a file of this machine; of another one it is a copy.

  Raises:
    OSError: it cannot be copied.
  """
  if not is_elsewhere(path):
    yield path
    return
  # FFmpeg seeks in files, and tells some formats by their ending.
  ending = pathlib.PurePosixPath(path).suffix
  with tempfile.NamedTemporaryFile(suffix=ending) as copy:
    with FileSystems.open(
      path, compression_type=CompressionTypes.UNCOMPRESSED
    ) as file:
      shutil.copyfileobj(file, copy, 1 << 20)
    copy.flush()
    yield copy.name
