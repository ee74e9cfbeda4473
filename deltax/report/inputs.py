"""What a report needs to be given, checked before anything is drawn."""

from collections.abc import Mapping, Sequence

import numpy as np

NEEDED = {
  'results': 'title classes palette teacher delta ms gmacs device size notes',
  "results['teacher']": 'name params gmacs ms miou iou consistency',
  "a row of results['delta']": (
    'interval miou iou gmacs share ms per_distance teacher_per_distance '
    'consistency'
  ),
  "results['ms']": 'teacher key later',
  "results['gmacs']": 'key later',
  'a layer': 'path candidates teacher chosen probability',
  'gates': 'steps probability',
  'curves': 'steps',
  'a frame of the film': 'frame label teacher delta caption',
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
    _need('a frame of the film', shot)
    frame = shot['frame']
    if frame.dtype != np.uint8 or frame.shape[2:] != (3,):
      raise ValueError(
        f'frame {shot["caption"]!r} is {frame.dtype} {frame.shape}, expected '
        'uint8 [H, W, 3]'
      )
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
  _need("results['teacher']", results['teacher'])
  classes = len(results['classes'])
  _length('palette', results['palette'], classes, 'classes')
  _length('iou of the teacher', results['teacher']['iou'], classes, 'classes')
  for row in results['delta']:
    _need("a row of results['delta']", row)
    interval = row['interval']
    _length(f'iou at interval {interval}', row['iou'], classes, 'classes')
    for name in ('per_distance', 'teacher_per_distance'):
      _length(
        f'{name} at interval {interval}', row[name], interval, 'distances'
      )
