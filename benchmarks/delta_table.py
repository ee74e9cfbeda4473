"""The table of one network that `delta.py` prints."""

PARTS = {'key': 'key frame', 'later': 'later frame'}


def table(result):
  """Lines of a table, and of the ratios that it is for.

  Args:
    result: of one network: what was asked for, and what `delta_measure` found,
      with 'ms' by the threads of the process.
  """
  columns = {
    title(threads): {
      name: ms['cpu' if threads == 1 else 'wall'] for name, ms in found.items()
    }
    for threads, found in result['ms'].items()
  }
  rows, cols = result['size']
  yield (
    f'{result["network"]}, {rows}x{cols}, batch {result["batch"]}, '
    f'{result["dtype"]}, {result["backend"]}'
  )
  titles = (*columns, 'GMAC', 'temporary MB', 'compile s')
  lines = [('', titles), *body(result, columns)]
  label = max(len(name) for name, _ in lines)
  for name, cells in lines:
    padded = zip(titles, cells, strict=True)
    yield name.ljust(label) + ''.join(
      cell.rjust(len(text) + 2) for text, cell in padded
    )
  yield from ratios(result, columns)


def title(threads):
  known = {0: 'wall ms', 1: '1 core, CPU ms'}
  return known.get(threads, f'{threads} cores, wall ms')


def body(result, columns):
  """Labels and cells; of a clip, what a frame takes on average."""
  interval, students = result['interval'], result['students']
  for name in next(iter(columns.values())):
    engine, colon, own = name.rpartition(': ')
    spelled, _, part = own.rpartition(' ')
    frames, macs, label = 1, result['teacher_macs'], name
    if spelled in students:
      later = students[spelled]['later_macs']
      told = PARTS.get(part, f'mean of {interval} frames')
      label = f'{engine}{colon}{spelled}, {told}'
      if part == 'later':
        macs = later
      elif part == 'clip':
        frames, macs = interval, (macs + (interval - 1) * later) / interval
    cells = [f'{column[name] / frames:.2f}' for column in columns.values()]
    figures = ['', '']
    if name in result['programs']:
      program = result['programs'][name]
      held, seconds = program['temporary_bytes'], program['compile_s']
      figures = [f'{held / 1e6:.1f}', f'{seconds:.1f}']
    yield label, [*cells, f'{macs / 1e9:.2f}', *figures]


def ratios(result, columns):
  """A line for each student, and one for PyTorch."""

  def each(name, other):
    return ', '.join(
      f'{column[name] / column[other]:.2f}x ({text})'
      for text, column in columns.items()
    )

  for spelled, known in result['students'].items():
    macs = result['teacher_macs'] / max(known['later_macs'], 1)
    carry, whole = known['carry_bytes'], known['inputs_and_outputs_bytes']
    yield (
      f'{spelled}: later frame faster than own teacher '
      f'{each("teacher", f"{spelled} later")}, MACs {macs:.2f}x; '
      f'carry {carry / 1e6:.1f} MB, {carry / whole:.2f} of inputs and outputs'
    )
  if result['difference'] is not None:
    yield (
      'own teacher / PyTorch teacher '
      f'{each("teacher", "PyTorch teacher")}; outputs differ by '
      f'{result["difference"]:.0e}'
    )
