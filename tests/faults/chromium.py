"""A page in headless Chromium, driven by its remote debugging protocol.

The browser is told through a pipe, so that nothing else is needed.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
FLAGS = (
  *('--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars'),
  *('--no-first-run', '--disable-dev-shm-usage', '--remote-debugging-pipe'),
)


def program():
  """Where the browser is; None where there is none."""
  return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
  """A page that is open.

  Attributes:
    log: what the page has written to its console, and its errors.
    asked: addresses that it has loaded from.
  """

  def __init__(self, told, answers):
    self._told, self._answers = told, answers
    self._rest, self._number, self._session = b'', 0, None
    self._loaded, self.log, self.asked = 0, [], []
    target = self.do('Target.createTarget', url='about:blank')['targetId']
    self._session = self.do(
      'Target.attachToTarget', targetId=target, flatten=True
    )['sessionId']
    for domain in ('Page', 'Runtime', 'Log', 'Network', 'DOM'):
      self.do(f'{domain}.enable')

  def do(self, method, **params):
    """Runs a method of the protocol."""
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._told, json.dumps(message).encode() + b'\0')
    while True:
      answer = self._next()
      if answer.get('id') == self._number:
        assert 'error' not in answer, (method, answer['error'])
        return answer['result']
      self._note(answer)

  def evaluate(self, script):
    """The value of an expression, awaited if need be."""
    done = self.do(
      'Runtime.evaluate',
      expression=script,
      returnByValue=True,
      awaitPromise=True,
    )
    assert 'exceptionDetails' not in done, done['exceptionDetails']
    return done['result'].get('value')

  def open(self, address):
    """Loads a page, wholly."""
    before = self._loaded
    self.do('Page.navigate', url=address)
    while self._loaded == before:
      self._note(self._next())

  def wait(self, script, seconds=20):
    """Until an expression is true."""
    end = time.monotonic() + seconds
    while not self.evaluate(f'!!({script})'):
      told = self.evaluate('document.body.innerText')
      assert time.monotonic() < end, f'never: {script}; the page: {told}'
      time.sleep(0.05)

  def text(self, selector):
    return self.evaluate(f'document.querySelector({selector!r}).innerText')

  def shown(self, selector):
    return self.evaluate(
      f'document.querySelector({selector!r}).checkVisibility()'
    )

  def choose(self, selector, path):
    """Chooses a file, as in the dialog of an input."""
    root = self.do('DOM.getDocument')['root']['nodeId']
    found = self.do('DOM.querySelector', nodeId=root, selector=selector)
    self.do('DOM.setFileInputFiles', files=[str(path)], nodeId=found['nodeId'])

  def drop(self, path, x=300, y=300):
    """Drops a file, as from another program."""
    data = {'items': [], 'files': [str(path)], 'dragOperationsMask': 1}
    for kind in ('dragEnter', 'dragOver', 'drop'):
      self.do('Input.dispatchDragEvent', type=kind, x=x, y=y, data=data)

  def press(self, key, code):
    for kind in ('keyDown', 'keyUp'):
      self.do(
        'Input.dispatchKeyEvent',
        type=kind,
        key=key,
        code=key,
        windowsVirtualKeyCode=code,
        text='\r' if key == 'Enter' and kind == 'keyDown' else '',
      )

  def picture(self, path, width=1100, height=900, dark=False):
    """Writes what is to be seen."""
    scheme = {
      'name': 'prefers-color-scheme',
      'value': 'dark' if dark else 'light',
    }
    self.do('Emulation.setEmulatedMedia', features=[scheme])
    self.do(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=False,
    )
    data = self.do('Page.captureScreenshot', format='png')['data']
    path.write_bytes(base64.b64decode(data))

  def _next(self):
    while b'\0' not in self._rest:
      ready, _, _ = select.select([self._answers], [], [], 60)
      part = os.read(self._answers, 1 << 20) if ready else b''
      assert part, 'the browser does not answer'
      self._rest += part
    line, _, self._rest = self._rest.partition(b'\0')
    return json.loads(line)

  def _note(self, event):
    params = event.get('params', {})
    if event.get('method') == 'Runtime.exceptionThrown':
      self.log.append(params['exceptionDetails'])
    elif event.get('method') == 'Runtime.consoleAPICalled':
      self.log.append(params['args'])
    elif event.get('method') == 'Log.entryAdded':
      self.log.append(params['entry'])
    elif event.get('method') == 'Page.loadEventFired':
      self._loaded += 1
    elif event.get('method') == 'Network.requestWillBeSent':
      self.asked.append(params['request']['url'])


@contextlib.contextmanager
def opened():
  """A browser with an empty page, gone at the end."""
  theirs, told = os.pipe()
  answers, ours = os.pipe()
  # It reads from descriptor 3 and writes to 4, which may be any of these.
  given = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, ours)]
  line = 'exec "$0" "$@" 3<&{} 4>&{}'.format(*given)
  with tempfile.TemporaryDirectory() as profile:
    browser = subprocess.Popen(
      ['bash', '-c', line, program(), *FLAGS, f'--user-data-dir={profile}'],
      pass_fds=given,
      stderr=subprocess.DEVNULL,
    )
    for end in (theirs, ours, *given):
      os.close(end)
    try:
      yield Page(told, answers)
    finally:
      os.close(told)  # without a pipe it ends
      try:
        browser.wait(20)
      except subprocess.TimeoutExpired:
        browser.kill()
        browser.wait()
      os.close(answers)
