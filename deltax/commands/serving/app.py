"""Searches over HTTP: what is asked for, and what is answered.

    POST   /searches?k=20&least=0.5&wait=0  the video is the body: 202, an id
    GET    /searches/ID?wait=0              how far it is, or what was found
    GET    /searches/ID/pictures/NAME       a picture of a match
    DELETE /searches/ID                     forgets it
    GET    /index, /healthz, /              facts; if it is well; the page

Whatever is wrong is told as `{"error": "a sentence"}`. Nothing that a client
sends is ever part of the path of a file.
"""

import asyncio
import pathlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import fastapi
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from deltax.commands.serving.jobs import (
  Answer,
  Asked,
  Closing,
  Full,
  Job,
  Jobs,
  Limits,
)
from deltax.commands.serving.page import POLICY, make_page
from deltax.data.video.sniff import sniff

MOST = 100  # matches of a search
LONGEST_WAIT = 600.0  # seconds
RETRY = 5  # seconds after which to ask again where there is no place
_FORMS = ('multipart/form-data', 'application/json')

Wait = Annotated[float, fastapi.Query(ge=0, le=LONGEST_WAIT)]
router = fastapi.APIRouter()


class Refused(Exception):
  """A request that is not met: its status, and why, in a sentence."""

  def __init__(self, status: int, reason: str, headers=None):
    super().__init__(reason)
    self.response = JSONResponse({'error': reason}, status, headers)


def make_app(
  jobs: Jobs, about: Callable[[], Mapping[str, Any]], limits: Limits
) -> fastapi.FastAPI:
  """The application, in the sense of ASGI.

  Args:
    jobs: searches that are taken on.
    about: gives plain values of the index as it is now.
    limits: of an upload.
  """
  # Pages of documentation would load scripts from elsewhere.
  app = fastapi.FastAPI(title='deltax serve', docs_url=None, redoc_url=None)
  app.state.jobs, app.state.about, app.state.limits = jobs, about, limits
  app.include_router(router)
  for error, handler in (
    (Refused, lambda request, error: error.response),
    (Full, _full),
    (Closing, _closing),
    (RequestValidationError, _invalid),
    (HTTPException, _unknown),
  ):
    app.add_exception_handler(error, handler)
  return app


@router.get('/', response_class=HTMLResponse)
async def show_page(request: Request):
  """The page."""
  state = request.app.state
  page = make_page(state.about(), state.limits.upload)
  headers = {
    'Content-Security-Policy': POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
  }
  return HTMLResponse(page, headers=headers)


@router.get('/favicon.ico', include_in_schema=False)
async def show_no_icon():
  """Browsers ask for one, whatever the page says."""
  return Response(status_code=204)


@router.get('/healthz')
async def tell_health(request: Request):
  """Whether searches are taken, and how many are not done."""
  jobs = request.app.state.jobs
  state = 'closing' if jobs.closing else 'ok'
  told = {'state': state, 'unfinished': jobs.unfinished()}
  return JSONResponse(told, 503 if jobs.closing else 200)


@router.get('/index')
async def tell_index(request: Request):
  """Facts of the index, and the limits of a search."""
  state = request.app.state
  limits = {
    'bytes': state.limits.upload,
    'k': MOST,
    'places': state.limits.places,
  }
  return {**state.about(), 'limits': limits}


@router.post('/searches', status_code=202)
async def ask(
  request: Request,
  k: Annotated[int, fastapi.Query(ge=1, le=MOST)] = 20,
  least: Annotated[float, fastapi.Query(ge=0, le=1)] = 0.5,
  wait: Wait = 0.0,
):
  """Takes a search on; its video is the body of the request."""
  jobs, limits = request.app.state.jobs, request.app.state.limits
  _check_headers(request, limits)
  with jobs.place() as path:
    await _receive(request, path, jobs, limits)
    if reason := await asyncio.to_thread(sniff, path):
      raise Refused(422, f'the upload is no video: {reason}')
    job = jobs.submit(path, Asked(k, least))
  if not await _ended(request, job, wait):
    jobs.drop(job)  # who asked has gone, and nobody else knows its id
  told = _told(jobs, job)
  headers = {'Location': f'/searches/{job.id}', 'Cache-Control': 'no-store'}
  status = {'done': 200, 'failed': 422}.get(told['state'], 202)
  if status == 422 and job.outcome.result().ours:
    status = 500
  return JSONResponse(told, status, headers)


@router.get('/searches/{name}')
async def tell(request: Request, name: str, wait: Wait = 0.0):
  """How far a search is, or what it found."""
  jobs, job = request.app.state.jobs, _job(request, name)
  await _ended(request, job, wait)
  return JSONResponse(_told(jobs, job), headers={'Cache-Control': 'no-store'})


@router.delete('/searches/{name}', status_code=204)
async def forget(request: Request, name: str):
  """Forgets a search; one that is under way ends soon."""
  request.app.state.jobs.drop(_job(request, name))
  return Response(status_code=204)


@router.get('/searches/{name}/pictures/{picture}')
async def show_picture(request: Request, name: str, picture: str):
  """A picture of a match, by the name that the match gives it."""
  outcome = _job(request, name).outcome
  found = outcome.result() if outcome.done() else None
  if not isinstance(found, Answer) or picture not in found.pictures:
    raise Refused(404, 'the search has no such picture')
  headers = {'Cache-Control': 'private, max-age=600'}
  return Response(found.pictures[picture], 200, headers, 'image/jpeg')


def _job(request: Request, name: str) -> Job:
  job = request.app.state.jobs.get(name)
  if job is None:
    minutes = request.app.state.limits.kept_seconds / 60
    raise Refused(
      404,
      'no search has this id: there never was one, it was forgotten, or it was '
      f'done more than {minutes:g} minutes ago',
    )
  return job


def _told(jobs: Jobs, job: Job) -> dict[str, Any]:
  """A search as plain values."""
  told = {'id': job.id}
  if job.outcome.cancelled():
    return {**told, 'state': 'failed', 'error': 'the search was forgotten'}
  if job.outcome.done():
    job.collected, outcome = True, job.outcome.result()
    if isinstance(outcome, Answer):
      return {**told, 'state': 'done', 'result': outcome.found}
    return {**told, 'state': 'failed', 'error': outcome.reason}
  if job.outcome.running():
    progress = {'stage': job.stage, 'share': job.share}
    return {**told, 'state': 'running', 'progress': progress}
  return {**told, 'state': 'waiting', 'ahead': jobs.ahead(job)}


async def _ended(request: Request, job: Job, wait: float) -> bool:
  """Waits for a search; False if the client has gone before."""
  if not wait or job.outcome.done():
    return True
  done = asyncio.wrap_future(job.outcome)
  gone = asyncio.ensure_future(_gone(request))
  await asyncio.wait(
    (done, gone), timeout=wait, return_when=asyncio.FIRST_COMPLETED
  )
  has_gone = gone.done() and not job.outcome.done()
  gone.cancel()
  return not has_gone


async def _gone(request: Request) -> None:
  """Returns when the client has closed its connection."""
  while (await request.receive())['type'] != 'http.disconnect':
    pass


def _check_headers(request: Request, limits: Limits) -> None:
  kind = request.headers.get('content-type', '').partition(';')[0].strip()
  if kind in _FORMS or 'content-encoding' in request.headers:
    raise Refused(
      415,
      'the body of the request is the video file itself, not a form and not '
      'compressed, as of curl --data-binary @query.mp4',
    )
  length = request.headers.get('content-length', '')
  if length.isdecimal() and int(length) > limits.upload:
    raise _too_large(limits)


def _too_large(limits: Limits) -> Refused:
  most = f'{limits.upload / 1e6:,g} MB'
  return Refused(413, f'the video is too large: at most {most} are taken')


async def _receive(
  request: Request, path: pathlib.Path, jobs: Jobs, limits: Limits
) -> None:
  """Writes the body of a request into a file, as it comes."""
  size = 0
  try:
    async with asyncio.timeout(limits.seconds):
      with open(path, 'wb') as file:
        async for chunk in request.stream():
          size += len(chunk)
          if size > limits.upload:
            raise _too_large(limits)
          if jobs.closing:
            raise Closing
          file.write(chunk)
  except TimeoutError:
    raise Refused(
      408, f'the upload took more than {limits.seconds:g} seconds'
    ) from None
  except ClientDisconnect:
    raise Refused(400, 'the upload ended before its end') from None
  except OSError as error:
    raise Refused(
      507, f'the upload cannot be kept: {error.strerror}'
    ) from error


def _full(request: Request, error: Full) -> Response:
  return _busy('all places are taken; ask again in some seconds')


def _closing(request: Request, error: Closing) -> Response:
  return _busy('the server is about to stop; ask again when it is back')


def _busy(reason: str) -> Response:
  return Refused(503, reason, {'Retry-After': str(RETRY)}).response


def _invalid(request: Request, error: RequestValidationError) -> Response:
  first = error.errors()[0]
  name, told = first['loc'][-1], first['msg']
  return Refused(
    422, f'{name}: {told[:1].lower()}{told[1:]}, got {first["input"]!r:.80}'
  ).response


def _unknown(request: Request, error: HTTPException) -> Response:
  told = {404: 'there is nothing here', 405: 'that is not done with this'}
  reason = told.get(error.status_code, str(error.detail))
  return Refused(error.status_code, reason, error.headers).response
