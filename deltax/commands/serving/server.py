"""The server itself: a socket, and an end at which nothing is lost."""

import errno
import socket

import fastapi
import uvicorn

from deltax.commands.serving.jobs import Jobs
from deltax.errors import DeltaxError

LAST = 5  # seconds that a request may still take when all is done
_WAITING = 1024  # connections that are not taken yet


def bind(host: str, port: int) -> socket.socket:
  """A socket that listens.

  Raises:
    DeltaxError: the port is taken, or there is no such address here.
  """
  try:
    family, kind, protocol, _, address = socket.getaddrinfo(
      host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
      listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      listening.bind(address)
      listening.listen(_WAITING)
    except OSError:
      listening.close()
      raise
    return listening
  except OSError as error:
    if error.errno == errno.EADDRINUSE:
      raise DeltaxError(
        f'port {port} of {host} is taken; another --port, or --port 0 for one '
        'that is free'
      ) from error
    reason = error.strerror or error
    raise DeltaxError(
      f'{host}:{port} cannot be listened on: {reason}'
    ) from error


def address_of(listening: socket.socket) -> str:
  """What a browser is told to open."""
  host, port = listening.getsockname()[:2]
  return f'http://{f"[{host}]" if ":" in host else host}:{port}/'


class Server(uvicorn.Server):
  """Ends on SIGTERM or Ctrl-C when all searches are done that it has taken on.

  Until then it answers who asks for them. A second signal ends it at once.

  Args:
    app: the application.
    jobs: its searches.
  """

  def __init__(self, app: fastapi.FastAPI, jobs: Jobs):
    super().__init__(
      uvicorn.Config(
        app,
        # Of a request that is refused it reads the rest, so that the client
        # sees the answer.
        http='h11',
        ws='none',
        lifespan='off',
        log_config=None,  # its own would close the streams of ours
        log_level='warning',
        timeout_graceful_shutdown=LAST,
      )
    )
    self._jobs = jobs

  def handle_exit(self, sig, frame) -> None:
    if self._jobs.closing:
      self.should_exit = self.force_exit = True
      return
    self._jobs.close()
    left = self._jobs.unfinished()
    print(f'stopping after {left} more searches', flush=True)

  async def on_tick(self, counter: int) -> bool:
    return await super().on_tick(counter) or self._jobs.settled()
