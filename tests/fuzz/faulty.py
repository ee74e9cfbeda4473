"""Readers with a fault each, to see that it is found."""

import os
import subprocess
import time

from mutators import OUTSIDE

from deltax.errors import DeltaxError


def _hide(folder):
  try:
    return bytearray(1 << 40)
  except MemoryError as error:
    raise DeltaxError(f'{folder} is damaged') from error


def _raise(error):
  raise error


READERS = {
  'dies': lambda folder: os.abort(),
  'exits': lambda folder: _raise(SystemExit(1)),
  'hangs': lambda folder: time.sleep(60),
  'fills': lambda folder: b'x' * (90 << 20),
  'asks': lambda folder: bytearray(1 << 40),
  'hides': _hide,
  'fails': lambda folder: {}[str(folder)],
  'babbles': lambda folder: _raise(DeltaxError(f'{folder}\nis damaged')),
  'withholds': lambda folder: _raise(DeltaxError('it is damaged')),
  'peeks': lambda folder: (folder.parent / OUTSIDE).read_text(),
  'deletes': lambda folder: (folder.parent / OUTSIDE).unlink(),
  'runs': lambda folder: exec('1 + 1'),
  'starts': lambda folder: subprocess.run(['true']),
  'reads': lambda folder: (folder / 'file').read_text(),
  'refuses': lambda folder: _raise(DeltaxError(f'{folder} is damaged')),
}
