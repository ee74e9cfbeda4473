"""The page to drop a video on: one file that needs nothing from elsewhere."""

import base64
import hashlib
import html
import pathlib
from collections.abc import Mapping
from typing import Any

from deltax.report import document

_FOLDER = pathlib.Path(__file__).parent
_BODY, _STYLE, _SCRIPT = (
  (_FOLDER / f'page.{kind}').read_text('utf-8')
  for kind in ('html', 'css', 'js')
)
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
# What a browser lets the page do: run its own script, and ask this server.
POLICY = (
  f"default-src 'none'; script-src 'sha256-{_DIGEST}'; "
  "style-src 'unsafe-inline'; img-src 'self'; connect-src 'self'; "
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def make_page(about: Mapping[str, Any], upload: int) -> str:
  """The HTML of the page.

  Args:
    about: of the index: its 'name', how many 'videos' and 'hours' it has.
    upload: bytes that a video may have.
  """
  name, videos = html.escape(about['name']), about['videos']
  body = _BODY.replace('{name}', name).replace('{upload}', str(upload))
  hours = about['hours']
  long = f'{hours:,.1f} hours' if hours >= 1 else f'{60 * hours:.1f} minutes'
  told = f'{videos:,} video{"s" * (videos != 1)}, {long}'
  body = body.replace('{told}', told).replace('{most}', f'{upload / 1e6:,g}')
  parts = [body, f'<script>{_SCRIPT}</script>']
  return document.whole(f'Search {about["name"]}', parts, style=_STYLE)
