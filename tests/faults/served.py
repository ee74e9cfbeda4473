"""A server of searches on a thread of this process, and who asks it."""

import contextlib
import http.client
import json
import threading
import time

from deltax.commands.serving import app as serving
from deltax.commands.serving.jobs import Answer, Jobs, Limits
from deltax.commands.serving.server import Server, bind

ABOUT = {'name': 'films', 'videos': 3, 'hours': 2.0}


def wait_until(true, seconds=20):
  """Asks a function of no arguments until it says yes."""
  end = time.monotonic() + seconds
  while not true():
    assert time.monotonic() < end
    time.sleep(0.005)


class Client:
  """Asks a server, each time by a connection of its own.

  Attributes:
    port: of the server.
  """

  def __init__(self, port):
    self.port = port

  @property
  def address(self):
    return f'http://127.0.0.1:{self.port}/'

  def __call__(self, method, path, body=None, headers=None):
    """The status, the value of the JSON (or the bytes), and the headers."""
    connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=120)
    with contextlib.closing(connection):
      connection.request(method, path, body, headers or {})
      answer = connection.getresponse()
      content = answer.read()
      if answer.headers.get_content_type() == 'application/json':
        content = json.loads(content)
      return answer.status, content, answer.headers

  def wait(self, name, seconds=60):
    """What a search has found, or why it has failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      status, told, _ = self('GET', f'/searches/{name}?wait=5')
      assert status == 200, told
      if told['state'] in ('done', 'failed'):
        return told
    raise AssertionError(f'after {seconds} s: {told}')


@contextlib.contextmanager
def serving_on(jobs, limits, about=lambda: ABOUT):
  """A client of a server of some jobs, on a free port."""
  server = Server(serving.make_app(jobs, about, limits), jobs)
  with bind('127.0.0.1', 0) as listening:
    port = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
      yield Client(port)
    finally:
      server.should_exit = True
      thread.join(30)
      assert not thread.is_alive()


class Gate:
  """A search that waits until it may go on, and finds what was sent.

  Attributes:
    open: an event.
    begun: how many have begun.
    paths: of the videos.
  """

  def __init__(self):
    self.open, self.begun, self.paths = threading.Event(), 0, []

  def __call__(self, path, asked, told):
    self.begun += 1
    self.paths.append(path)
    size = path.stat().st_size
    for step in range(10_000):
      told('reading', min(step / 100, 1.0))
      if self.open.wait(0.01):
        return Answer({'bytes': size, 'k': asked.k, 'least': asked.least}, {})
    raise TimeoutError


@contextlib.contextmanager
def served(search, folder, **limits):
  """A client of a server that answers with a function, and its jobs."""
  limits = Limits(**limits)
  with Jobs(search, folder, limits) as jobs, serving_on(jobs, limits) as client:
    yield client, jobs
