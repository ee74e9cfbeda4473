"""What a report needs to be given, checked before anything is drawn."""

from collections.abc import Mapping, Sequence

import numpy as np

NEEDED = {
  'results': (
    'title metric classes palette teacher delta ms gmacs device size notes'
  ),
  "results['metric']": 'name text of_class about absent',
  "results['teacher']": 'name params gmacs ms score by_class',
  "a row of results['delta']": (
    'interval score teacher_score by_class gmacs share ms per_distance '
    'teacher_per_distance'
  ),
  "results['ms']": 'teacher key later',
  "results['gmacs']": 'key later',
  'a layer': 'path candidates teacher chosen probability',
  'gates': 'steps probability',
  'curves': 'steps',
  'a frame of the film': 'frame label teacher delta caption',
  'a frame of the film with boxes': 'frame truth teacher delta caption',
}
BOXES = {
  'truth': ('boxes', 'classes'),
  'teacher': ('boxes', 'scores', 'classes'),
  'delta': ('boxes', 'scores', 'classes'),
}


def check(
  results: Mapping,
  layers: Sequence[Mapping],
  gates: Mapping | None,
  curves: Mapping | None,
  film: Sequence[Mapping],
) -> None:
  """Raises a ValueError that names what a report lacks or cannot use."""
  _check_results(results)
  for layer in layers:
    _need('a layer', layer)
    if layer['chosen'] not in layer['candidates']:
      raise ValueError(
        f'layer {layer["path"]} chose {layer["chosen"]!r}, which is none of '
        f'its candidates {sorted(layer["candidates"])}'
      )
  for shot in film:
    _check_shot(shot)
  if gates:
    _need('gates', gates)
    for path, values in gates['probability'].items():
      _length(f'gate {path}', values, len(gates['steps']), 'steps')
  if curves:
    _need('curves', curves)
    for name, values in curves.items():
      _length(f'curve {name}', values, len(curves['steps']), 'steps')


def _need(what: str, given: Mapping) -> None:
  missing = [name for name in NEEDED[what].split() if name not in given]
  if missing:
    raise ValueError(f'{what} lacks {missing}; it needs {NEEDED[what].split()}')


def _length(what: str, values: Sequence, expected: int, of: str) -> None:
  if len(values) != expected:
    raise ValueError(f'{what} has {len(values)} values for {expected} {of}')


def _check_results(results: Mapping) -> None:
  _need('results', results)
  _need("results['ms']", results['ms'])
  _need("results['gmacs']", results['gmacs'])
  _need("results['metric']", results['metric'])
  _need("results['teacher']", results['teacher'])
  classes = len(results['classes'])
  _length('palette', results['palette'], classes, 'classes')
  teacher = results['teacher']
  _length('by_class of the teacher', teacher['by_class'], classes, 'classes')
  for row in results['delta']:
    _need("a row of results['delta']", row)
    interval = row['interval']
    _length(
      f'by_class at interval {interval}', row['by_class'], classes, 'classes'
    )
    _same_others(interval, row, teacher)
    for name in ('per_distance', 'teacher_per_distance'):
      _length(
        f'{name} at interval {interval}', row[name], interval, 'distances'
      )


def _same_others(interval: int, row: Mapping, teacher: Mapping) -> None:
  own, expected = (list(r.get('others', {})) for r in (row, teacher))
  if own != expected:
    raise ValueError(
      f'others at interval {interval} are {own}, those of the teacher '
      f'{expected}'
    )


def _check_shot(shot: Mapping) -> None:
  boxes = 'truth' in shot
  _need('a frame of the film' + ' with boxes' * boxes, shot)
  frame = shot['frame']
  if frame.dtype != np.uint8 or frame.shape[2:] != (3,):
    raise ValueError(
      f'frame {shot["caption"]!r} is {frame.dtype} {frame.shape}, expected '
      'uint8 [H, W, 3]'
    )
  for name, keys in BOXES.items() if boxes else ():
    lacking = [key for key in keys if key not in shot[name]]
    if lacking:
      raise ValueError(f'{name} of frame {shot["caption"]!r} lacks {lacking}')
