"""Milliseconds of every layer and student of a network, measured here.

    deltax profile ddrnet23_slim --size 512x1024 --out latency.json

Each is compiled and timed alone on frames of that size, as it stands when
deployed: batch norm folded, the cached tensor added. The file is what a search
within a budget of milliseconds reads. Of a student the table shows `1.200
2.1x/4.8x`: 1.2 ms, which is 2.1 times faster than the teacher, at 4.8 times
fewer multiply-accumulates. Leave the machine alone meanwhile.
"""

import argparse
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

from deltax import delta, models, training
from deltax.commands import folders
from deltax.commands.sizes import read_size
from deltax.delta.search import latency
from deltax.delta.search.latency import Entry, Latencies
from deltax.delta.survey import survey
from deltax.delta.units import Unit
from deltax.progress import counted
from deltax.tasks.network import Brought, bring, brought_by


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    'network',
    help='the folder of a run, module:factory, file:factory, or one of '
    f'{", ".join(models.MODELS)}',
  )
  parser.add_argument(
    '--size', required=True, help='rows and columns of a frame, as 512x1024'
  )
  parser.add_argument('--num-classes', type=int, default=19)
  parser.add_argument(
    '--candidates',
    nargs='+',
    default=['full', 'low_rank:4', 'bottleneck:4', 'strided', 'skip'],
    metavar='NAME[:ARGUMENT]',
    help='of layers, as full or low_rank:4',
  )
  parser.add_argument(
    '--layers', default='all_but_first_and_last', help='rule that picks them'
  )
  parser.add_argument(
    '--blocks',
    nargs='+',
    default=[],
    metavar='CLASS',
    help='classes of modules that have one student each, as BasicBlock',
  )
  parser.add_argument(
    '--spans',
    nargs='+',
    default=[],
    metavar='FIRST-LAST',
    help='convolutions between which everything is one more block',
  )
  parser.add_argument(
    '--block-candidates',
    nargs='+',
    default=['residual:4', 'skip'],
    metavar='NAME[:ARGUMENT]',
  )
  parser.add_argument(
    '--dtype', choices=('float32', 'bfloat16'), default='float32'
  )
  parser.add_argument('--device', choices=('cpu', 'gpu', 'tpu'))
  parser.add_argument('--out', type=pathlib.Path, help='file to write')


def run(arguments: argparse.Namespace) -> None:
  """Measures, prints and writes.

  Raises:
    ValueError: something is not known, a layer cannot have a candidate, or
      there is no such device.
  """
  if arguments.out:
    folders.check_file(arguments.out)
  if arguments.device:
    _choose(arguments.device)
  shape = (1, *read_size(arguments.size, '512x1024'), 3)
  spec = delta.make_spec(
    layers=arguments.layers,
    candidates=[_candidate(text) for text in arguments.candidates],
    blocks=arguments.blocks,
    spans=[_ends(text) for text in arguments.spans],
    block_candidates=[_candidate(text) for text in arguments.block_candidates],
  )
  brought = _network(arguments.network, arguments.num_classes)
  pixels = jax.ShapeDtypeStruct(shape, jnp.uint8)
  frame = jax.eval_shape(brought.prepare, pixels)
  net, variables = brought.net, brought.shapes(frame)
  selected = spec.select(survey(net, variables, frame))
  with counted('compiling', 'program') as progress:
    found = latency.measure(
      *(net, variables, spec, frame.shape),
      name=arguments.network,
      dtype=arguments.dtype,
      progress=progress,
    )
  units = {path: unit for path, (unit, _) in selected.items()}
  print('\n'.join(_lines(found, units)))
  if arguments.out:
    latency.write(arguments.out, found)
    print(f'written to {arguments.out}')


def _network(name: str, num_classes: int) -> Brought:
  """A network by its name, or that of a run."""
  if pathlib.Path(name).is_dir():
    task = training.read_metadata(training.find_checkpoint(name)).get('task')
    return brought_by(task or {})
  options = {} if ':' in name else {'num_classes': num_classes}
  return bring(name, options)


def _choose(kind: str) -> None:
  """Has jax compute on one kind of device, of which it takes the fastest."""
  if kind == 'cpu':
    jax.config.update('jax_platforms', kind)
  if jax.default_backend() != kind:
    raise ValueError(
      f'jax computes on {jax.default_backend()} here, not on {kind}'
    )


def _candidate(text: str) -> tuple:
  name, *options = text.split(':')
  return name, *(int(o) if o.isdecimal() else o for o in options)


def _ends(text: str) -> tuple[str, str]:
  first, dash, last = text.partition('-')
  if not dash:
    raise ValueError(
      f'{text!r} is no span; expected two convolutions as conv1_0-conv1_3'
    )
  return first, last


def _lines(found: Latencies, units: Mapping[str, Unit]) -> list[str]:
  """The table, and above it what was measured on what."""
  size = 'x'.join(map(str, found.shape))
  names = dict.fromkeys(n for own in found.candidates.values() for n in own)
  rows = [['', '', 'teacher', *names]]
  for path, teacher in found.teacher.items():
    if not teacher.macs:  # in a span, which stands for it
      continue
    own = found.candidates[path]
    cells = [_cell(own[n], teacher) if n in own else '-' for n in names]
    rows.append([path, units[path].description, f'{teacher.ms:.3f}', *cells])
  # Where a layer has no such candidate, the teacher's own counts.
  teacher = _sum(found.teacher.values())
  sums = [
    _sum(own.get(n, found.teacher[p]) for p, own in found.candidates.items())
    for n in names
  ]
  rest = f'{found.rest:.3f}'
  own = f'{max(0.0, found.frame - teacher.ms):.3f}'
  rows += [
    ['together', '', f'{teacher.ms:.3f}', *(_cell(s, teacher) for s in sums)],
    ['rest of a frame', '', own, *(rest for _ in sums)],
    [
      *('frame', '', f'{found.frame:.3f}'),
      *(
        f'{found.rest + s.ms:.3f} {_times(found.frame, found.rest + s.ms)}'
        for s in sums
      ),
    ],
  ]
  return [
    f'{found.network}, frames of {size}, {found.dtype}, on {found.device} '
    f'({found.backend}, {found.cores} cores); milliseconds, times faster / '
    'times fewer multiply-accumulates',
    *_aligned(rows),
  ]


def _cell(own: Entry, teacher: Entry) -> str:
  faster, fewer = _times(teacher.ms, own.ms), _times(teacher.macs, own.macs)
  return f'{own.ms:.3f} {faster}/{fewer}'


def _times(whole: float, part: float) -> str:
  return f'{whole / part:.1f}x' if part else '-'


def _sum(entries: Iterable[Entry]) -> Entry:
  return Entry(*map(sum, zip(*entries, strict=True)))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
  """Columns of equal width: names and shapes to the left, figures right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    '  '.join(
      cell.ljust(width) if place < 2 else cell.rjust(width)
      for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  ]
