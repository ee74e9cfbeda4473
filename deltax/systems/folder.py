"""Makes, saves and opens what `deltax index` and `deltax search` run with.

A folder holds `system.json`, what it is made of, and `arrays.npz`, its weights.
Weights that come as a package are not copied.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from deltax import files, plain, retrieval
from deltax.plain import DICT, TEXT
from deltax.retrieval.calibration import UNCALIBRATED, Calibration
from deltax.retrieval.system import Network, System, fingerprint, flatten, nest
from deltax.systems import extractors
from deltax.systems.extractors import Extractor

VERSION = 1
SHIPPED = ('binary', 'attention')  # trained by `make default-system`
NAMES = (*SHIPPED, 'untrained')  # that stand for a system without a folder
ROLES = ('coarse', 'fine', 'selector')
_PART = plain.Form(
  'null, or an object with a name and options',
  lambda part: (
    part is None
    or (
      isinstance(part, dict)
      and isinstance(part.get('name'), str)
      and isinstance(part.get('options'), dict)
    )
  ),
)
_FORM = {
  'version': plain.COUNT,
  'fingerprint': TEXT,
  'description': {'extractor': {'name': TEXT}, **dict.fromkeys(ROLES, _PART)},
}
_LINE = (plain.NUMBER, plain.NUMBER)
_CALIBRATION = {
  'coarse': _LINE,
  'fine': _LINE,
  'threshold': plain.NUMBER,
  'false_alarms': plain.Form(
    'a finite number or null', lambda x: x is None or plain.is_number(x)
  ),
}


class Part(NamedTuple):
  """A network by name, and its variables.

  Attributes:
    name: as `deltax.retrieval.create` takes it.
    options: the same; plain values.
    variables: of the network, `{}` if it has none.
  """

  name: str
  options: Mapping[str, Any]
  variables: Any


# Fitted to the copies that `make default-system` makes to test with.
UNTRAINED_CALIBRATION = Calibration(
  (99.284, -98.263), (150.841, -145.434), 0.55, 1.0
)
UNTRAINED = {
  'coarse': Part(
    'coarse', dict(attention=False, transformer=False, netvlad=False), {}
  ),
  'fine': Part('fine_plain', dict(comparator=False), {}),
  'selector': None,
}


def make_system(
  extractor: Extractor | None,
  parts: Mapping[str, Part | None] | None = None,
  calibration: Calibration | None = None,
) -> System:
  """Joins an extractor and networks.

  Args:
    extractor: of region features; None where videos come as regions, which such
      a system indexes and searches, but cannot make.
    parts: 'coarse', 'fine' and 'selector' (or None); without parts, what needs
      no training, `UNTRAINED`: the mean of all regions as the vector of a
      video, and the Chamfer similarity of its frames.
    calibration: of these networks; None: that of `UNTRAINED` without parts, and
      `UNCALIBRATED` for parts.

  Returns:
    The system.

  Raises:
    ValueError: a part is missing, or named otherwise.
  """
  if calibration is None:
    calibration = UNTRAINED_CALIBRATION if parts is None else UNCALIBRATED
  parts = dict(UNTRAINED if parts is None else parts)
  if set(parts) != set(ROLES):
    raise ValueError(
      f'a system has the parts {", ".join(ROLES)}; got {", ".join(parts)}'
    )
  networks, description = {}, {}
  description['extractor'] = extractor and dict(extractor.description)
  for role in ROLES:
    part = parts[role]
    if part is None:
      networks[role] = description[role] = None
      continue
    net = retrieval.create(part.name, **part.options)
    networks[role] = Network(net, part.variables)
    description[role] = {'name': part.name, 'options': dict(part.options)}
  arrays = {role: part.variables for role, part in parts.items() if part}
  source = extractor and extractor.fingerprint
  return System(
    extract=extractor or _no_frames,
    description=description,
    fingerprint=fingerprint({**description, 'of': source}, arrays),
    calibration=calibration,
    **networks,
  )


def _no_frames(frames: np.ndarray) -> np.ndarray:
  raise ValueError(
    f'frames of shape {frames.shape} for a system without an extractor: '
    'expected regions, or a system of make_system(extractor)'
  )


def save_system(folder: str | os.PathLike, system: System) -> None:
  """Writes a system, beside and then renamed.

  Args:
    folder: is made; must not exist.
    system: whose extractor `make_extractor` or `make_delta_extractor` made.

  Raises:
    FileExistsError: the folder is there already.
    ValueError: there is no extractor.
  """
  folder = pathlib.Path(folder)
  if folder.exists():
    raise FileExistsError(f'{folder} is there already; nothing was written')
  extractor = system.extract
  if not isinstance(extractor, Extractor):
    raise ValueError(
      f'{folder}: a system without an extractor cannot be saved; expected one '
      'of make_extractor'
    )
  arrays = {
    role: getattr(system, role).variables
    for role in ROLES
    if getattr(system, role)
  }
  for name in ('whitening', *extractors.STUDENTS):
    if name in extractor.arrays:
      arrays[name] = extractor.arrays[name]
  if not extractors.is_packaged(extractor):
    arrays['backbone'] = extractor.arrays['variables']
  by_path = {path: np.asarray(x) for path, x in flatten(arrays).items()}
  about = {
    'version': VERSION,
    'fingerprint': system.fingerprint,
    'description': system.description,
    'calibration': system.calibration._asdict(),
  }
  with files.filling(folder) as beside:
    np.savez(beside / 'arrays.npz', **by_path)
    files.write_json(beside / 'system.json', about)


def open_system(folder: str | os.PathLike | None = None) -> System:
  """Opens a system that was saved, one that is shipped, or an untrained one.

  Args:
    folder: as `save_system` or `deltax bundle` wrote it; the name of one that
      comes with the library, one of `SHIPPED`, None being the first of them; or
      'untrained': features of ImageNet by the packaged `efficientnet_lite0`,
      compared as they are. A folder of such a name is given as a path, './...'.

  Returns:
    The system.

  Raises:
    FileNotFoundError: there is no system in that folder.
    ValueError: what is there is broken, of another version, or gives other
      codes than when it was saved (other packaged weights, say).
  """
  folder = SHIPPED[0] if folder is None else folder
  if folder == 'untrained':
    return make_system(extractors.make_extractor('efficientnet_lite0'))
  if folder in SHIPPED:
    folder = pathlib.Path(__file__).parent / 'shipped' / folder
  folder = pathlib.Path(folder)
  extractor, roles, saved, calibration = _read(folder)
  arrays = _read_arrays(folder / 'arrays.npz')
  try:
    extractor = _extractor(extractor, arrays)
    parts = {
      role: part and Part(part['name'], part['options'], arrays.get(role, {}))
      for role, part in roles.items()
    }
    system = make_system(extractor, parts, calibration)
  except (ValueError, TypeError) as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise ValueError(f'{folder} is broken: {reason}') from error
  if system.fingerprint != saved:
    raise ValueError(
      f'{folder} was saved as {plain.written(saved)} and is now '
      f'{system.fingerprint}: its files or the packaged weights have changed'
    )
  return system


def _extractor(about: Mapping[str, Any], arrays: Mapping[str, Any]):
  """What a system's file describes, of its arrays."""
  whitening = arrays.get('whitening')
  whitening = whitening and extractors.Whitening(**whitening)
  backbone = arrays.get('backbone')
  if 'interval' not in about:
    return extractors.make_extractor(
      about['name'], whitening=whitening, weights=backbone
    )
  plain.check(about, {'interval': plain.COUNT, 'spec': DICT}, 'its extractor')
  students = {
    part: _with_lists(arrays.get(part, {})) for part in extractors.STUDENTS
  }
  return extractors.make_delta_extractor(
    *(about['name'], {'teacher': backbone, **students}),
    spec=about['spec'],
    interval=about['interval'],
    whitening=whitening,
  )


def _with_lists(tree: Any) -> Any:
  """A tree whose lists were saved as dicts of '0', '1' and so on."""
  if not isinstance(tree, dict):
    return tree
  numbers = [str(number) for number in range(len(tree))]
  if tree and sorted(tree) == sorted(numbers):
    return [_with_lists(tree[number]) for number in numbers]
  return {name: _with_lists(part) for name, part in tree.items()}


def _read(folder):
  path = folder / 'system.json'
  if not path.is_file():
    raise FileNotFoundError(f'{folder} holds no system: no system.json')
  about = plain.read_json(path, DICT, problem='is broken or foreign')
  version = about.get('version')
  if version != VERSION and 'version' in about:
    raise ValueError(
      f'{path} has version {plain.written(version)}; this library: {VERSION}'
    )
  plain.check(about, _FORM, path, problem='is broken or foreign')
  description, calibration = about['description'], about.get('calibration')
  if calibration is not None:  # systems were saved without one before
    plain.check(calibration, _CALIBRATION, path, problem='is broken or foreign')
    calibration = Calibration(
      tuple(calibration['coarse']),
      tuple(calibration['fine']),
      calibration['threshold'],
      calibration['false_alarms'],
    )
  return (
    description['extractor'],
    {role: description[role] for role in ROLES},
    about['fingerprint'],
    calibration,
  )


def _read_arrays(path: pathlib.Path) -> dict[str, Any]:
  """The arrays of a system, nested; each of its parts is a dict."""
  try:
    arrays = nest(plain.read_arrays(path))
    plain.check(arrays, {str: DICT}, path)
  # Of names one of which is the folder of another, no tree can be made.
  except (ValueError, TypeError, AttributeError) as error:
    raise ValueError(f'{path} is broken: {error}') from error
  return arrays
