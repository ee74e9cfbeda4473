"""Many searches at once of a server: how long they take, and its memory.

    python benchmarks/serve.py --clients 50 --videos 1000 --rounds 5

An index is made of videos whose features are drawn here, and of the queries
themselves, small films of noise. In each round every client sends a query and
waits for the answer; where it is told that there is no place, it asks again.
That each query is found, and first, is checked. CPU seconds are those of the
server for one search; the first searches compile.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import cv2
import numpy as np

from deltax import systems
from deltax.data.video.files import write_video
from deltax.retrieval.system import System

MODEL = 'binary'
RATE, SIDE = 12, (240, 320)
SECONDS = (6, 9, 12)  # of queries
FRAMES = (12, 24, 60)  # of the videos of the index, one a second
AGAIN = 0.2  # seconds, where there was no place


class Round(NamedTuple):
  """What was measured of a round.

  Attributes:
    seconds: of each client.
    whole: of all of them together.
    cpu: of the server.
    refused: how often there was no place.
    megabytes: of the server, at the end.
  """

  seconds: np.ndarray
  whole: float
  cpu: float
  refused: int
  megabytes: float


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--clients', type=int, default=50, help='at once')
  parser.add_argument('--videos', type=int, default=1000, help='of the index')
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--queue', type=int, default=64, help='of the server')
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    queries = make_queries(folder / 'queries')
    make_index(folder / 'index', options.videos, queries)
    with Server(folder / 'index', options.queue) as server:
      print(
        f'{"":14} {"p50 s":>7} {"p95":>7} {"p99":>7} {"a minute":>9}', end=''
      )
      print(f' {"503s":>6} {"MB":>6}')
      show('one alone', run_round(server, queries[:1], 1))
      for number in range(1, options.rounds + 1):
        show(f'round {number}', run_round(server, queries, options.clients))
      show('one alone', run_round(server, queries[:1], 1))


def make_queries(folder: pathlib.Path) -> list[pathlib.Path]:
  """Films of smooth noise that drifts, of some lengths."""
  paths = []
  for seed, seconds in enumerate(SECONDS):
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (seconds, 9, 12, 3), np.uint8)
    frames = [
      np.roll(cv2.resize(pictures[n // RATE], SIDE[::-1]), n, 1)
      for n in range(seconds * RATE)
    ]
    paths.append(folder / f'{seed}.mp4')
    write_video(paths[-1], np.stack(frames), RATE)
  return paths


def make_index(
  folder: pathlib.Path, videos: int, queries: list[pathlib.Path]
) -> None:
  """An index of drawn features, and of the queries."""
  system = systems.open_system(MODEL)
  systems.index_features(folder, drawn(system, videos), system)
  systems.index_files(folder, queries, model=system)


def drawn(system: System, videos: int) -> dict[str, np.ndarray]:
  """Regions of videos, by their names: unit vectors."""
  rng = np.random.default_rng(0)
  shape = system.extract(np.zeros((1, 224, 224, 3), np.uint8)).shape[1:]
  features = {}
  for number in range(videos):
    frames = FRAMES[number % len(FRAMES)]
    x = rng.standard_normal((frames, *shape), np.float32)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    features[f'drawn {number}'] = x
  return features


class Server:
  """`deltax serve`, in a process of its own, gone at the end."""

  def __init__(self, index: pathlib.Path, queue: int):
    self.process = subprocess.Popen(
      [sys.executable, '-m', 'deltax', 'serve', index, '--port', '0']
      + ['--model', MODEL, '--queue', str(queue)],
      stdout=subprocess.PIPE,
      text=True,
    )
    told = self.process.stdout.readline()
    print(told.strip(), flush=True)
    self.port = int(told.partition('127.0.0.1:')[2].split('/')[0])

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self.process.terminate()
    self.process.wait()

  def search(self, video: bytes) -> tuple[int, dict]:
    """The status and what was told, when it is done."""
    status, told = self._ask('POST', '/searches?wait=600', video)
    while status == 202:
      found, told = self._ask('GET', f'/searches/{told["id"]}?wait=600')
      if found != 200 or told['state'] in ('done', 'failed'):
        status = found
    return status, told

  def _ask(self, method: str, path: str, body=None) -> tuple[int, dict]:
    connection = http.client.HTTPConnection('127.0.0.1', self.port)
    connection.request(method, path, body)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told

  def cpu(self) -> float:
    """Seconds that the process has computed."""
    about = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text()
    ticks = about.rpartition(')')[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')

  def megabytes(self) -> float:
    """Memory of the process that is resident."""
    status = pathlib.Path(f'/proc/{self.process.pid}/status').read_text()
    (line,) = [x for x in status.splitlines() if x.startswith('VmRSS')]
    return int(line.split()[1]) / 1024


def run_round(
  server: Server, queries: list[pathlib.Path], clients: int
) -> Round:
  """Lets every client search once, all at the same time."""

  def search(number):
    path = queries[number % len(queries)]
    video, refused, start = path.read_bytes(), 0, time.perf_counter()
    while True:
      status, told = server.search(video)
      if status != 503:
        break
      refused += 1
      time.sleep(AGAIN)
    seconds = time.perf_counter() - start
    assert status == 200, told
    best = told['result']['matches'][0]['name']
    assert best == path.name, (path.name, best)
    return seconds, refused

  cpu, start = server.cpu(), time.perf_counter()
  with concurrent.futures.ThreadPoolExecutor(clients) as pool:
    seconds, refused = zip(*pool.map(search, range(clients)), strict=True)
  whole = time.perf_counter() - start
  cpu = server.cpu() - cpu
  return Round(np.array(seconds), whole, cpu, sum(refused), server.megabytes())


def show(name: str, found: Round) -> None:
  """Prints a line of the table."""
  p50, p95, p99 = np.percentile(found.seconds, (50, 95, 99))
  rate = 60 * len(found.seconds) / found.whole
  cpu = found.cpu / len(found.seconds)
  print(
    f'{name:12} {p50:8.2f} {p95:8.2f} {p99:8.2f} {rate:8.1f} {cpu:8.2f} '
    f'{found.refused:8} {found.megabytes:8.0f}',
    flush=True,
  )


if __name__ == '__main__':
  main()
