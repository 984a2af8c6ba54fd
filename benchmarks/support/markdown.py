"""A table of Markdown for each benchmark, made of its result alone."""

import textwrap
from collections.abc import Callable, Iterable

_NAMES = {
  'shared, plain upsampling': 'shared kernels, plain upsampling',
  'vmapped kernels': 'a kernel for each sample, `vmap`',
  'grouped kernels': 'grouped kernels, as the original',
  'fragments': 'triangles as fragments, z-buffer',
  'splat': 'points splatted',
  'PyTorch': 'PyTorch, the same weights',
  'discriminator_r1': 'with R1',
  'generator_path': 'with path length',
  'training': 'training, all in their shares',
}
_WIDTH = 100


def block(name: str, result: dict) -> str:
  """What stands in a document for a result: its table, and what it was measured with.

  Args:
    name: of the benchmark, one of `TABLES`.
    result: as the benchmark wrote it.
  """
  rows, *notes = TABLES[name](result)
  below = ' '.join([*notes, origin(result)])
  below = textwrap.fill(below, _WIDTH, break_long_words=False, break_on_hyphens=False)
  return '\n'.join([*rows, '', below])


def origin(result: dict) -> str:
  """The sentence that names command, machine, versions and date of a result."""
  machine, versions = result['machine'], result['versions']
  device = (
    f', {machine["accelerators"]} {machine["accelerator"]}' if 'accelerator' in machine else ''
  )
  compared = 'torch' in versions and 'PyTorch' in str(result['rows'])
  torch = f', PyTorch {versions["torch"]}' if compared else ''
  return (
    f'Measured by `{result["command"]}` on {machine["processor"]}, {machine["cores"]} cores'
    f'{device}, {machine["memory_gib"]} GiB, with jax {versions["jax"]}{torch}, {result["date"]}.'
  )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
  head = list(head)
  line = lambda cells: '| ' + ' | '.join(cells) + ' |'
  return [line(head).replace('|  |', '| |'), '|' + '---|' * len(head), *map(line, rows)]


def number(value: float | None) -> str:
  """Two figures or all before the point; a dash for what was not measured."""
  if value is None:
    return '-'
  for least, digits in ((10, 0), (1, 1), (0.1, 2)):
    if abs(value) >= least:
      return f'{value:.{digits}f}'
  return f'{value:.2g}'


def _name(name):
  return _NAMES.get(name, name.replace(' flip', ', mirrored'))


def _fits(result):
  rows = [
    [
      str(row['pictures']),
      row['compiled_programs'],
      number(row['seconds']),
      f'{row["peak_memory_gib"]:.1f}',
    ]
    for row in result['rows']
  ]
  yield _table(('pictures', 'compiled programs', 's', 'peak memory, GiB'), rows)


def _steps(result):
  used = [row for row in result['rows'] if row.get('calls_an_image')]
  rows = [
    [
      _name(row['name']),
      number(1e3 * row['seconds']),
      str(row['calls_an_image']),
      number(row['compile_seconds']),
    ]
    for row in used
  ]
  yield _table(('', 'ms', 'calls an image', 'compilation, s'), rows)
  setting = result['setting']
  yield (
    f'At {setting["image_size"]} px and batch {setting["batch_size"]}; an image takes '
    f'{number(result["seconds_an_image"])} s of these, and a run '
    f'{number(result["compile_seconds_of_a_run"])} s of compilation once.'
  )


def _roofline(result):
  mirrored = result['setting']['mirrored']
  rows = [
    [
      row['step'] + (', mirrored' if mirrored.get(row['step']) else ''),
      number(1e3 * row['seconds']),
      number(row['gigaflops']),
      f'{row["share_of_bound"]:.0%}',
    ]
    for row in result['rows']
  ]
  yield _table(('', 'ms', 'GFLOP', 'of the bound'), rows)
  peaks = result['peaks']
  yield (
    f'Measured peaks: {number(peaks["flops"] / 1e9)} GFLOP/s and '
    f'{number(peaks["bytes"] / 1e9)} GB/s.'
  )


def _generator(result):
  batch = max(row['batch'] for row in result['rows'])
  rows = {(r['way'], r['pass']): r for r in result['rows'] if r['batch'] == batch}
  cell = lambda row: f'{number(row["images_a_second"])} ({number(1 / row["times_ours"])})'
  ways = dict.fromkeys(way for way, _ in rows)
  yield _table(
    ('', 'forward', 'forward and backward'),
    [[_name(w), *(cell(rows[w, p]) for p in ('forward', 'and backward'))] for w in ways],
  )
  yield f'Images a second at batch {batch} (times as fast as ours).'


def _renderer(result):
  views = max(row['views'] for row in result['rows'])
  timed = {(r['way'], r['size'], r['pass']): r for r in result['rows'] if r['views'] == views}
  sizes = sorted({size for _, size, _ in timed})
  differences = {
    row['way']: row.get('mean_abs_difference')
    for row in result['compared']
    if (row['views'], row['size']) == (views, sizes[-1])
  }
  passes = 'forward', 'and backward'
  head = ['', *(f'{size} px, {name}' for size in sizes for name in passes), 'difference']
  rows = []
  for way in dict.fromkeys(way for way, _, _ in timed):
    found = [timed.get((way, size, name), {}) for size in sizes for name in passes]
    times = [number(row['seconds'] * 1e3 if row.get('seconds') else None) for row in found]
    difference = differences.get(way)
    rows.append([_name(way), *times, '-' if difference is None else f'{difference:.0e}'])
  yield _table(head, rows)
  yield (
    f'Milliseconds for {views} views; the difference is from the ray caster '
    f'({result["ray_caster"]}), the mean in camera units.'
  )


def _scaling(result):
  rows = [
    [
      row['form'],
      number(1e3 * row['seconds_a_picture']),
      f'{row["ratio"]:.2f}',
      ', '.join(row['collectives']) or 'nothing',
    ]
    for row in result['rows']
  ]
  yield _table(('', 'ms a picture', 'ratio', 'passes between devices'), rows)
  yield f'Step {result["setting"]["step"]} of a picture.'


def _gan_training(result):
  sides = dict.fromkeys(row['side'] for row in result['rows'])
  found = {(row['update'], row['side']): row['images_a_second'] for row in result['rows']}
  yield _table(
    ('', *sides),
    [
      [_name(update), *(number(found[update, side]) for side in sides)]
      for update in dict.fromkeys(update for update, _ in found)
    ],
  )
  yield 'Images a second.'


def _throughput(result):
  rows = [
    [
      str(row['instances']),
      row['form'] if row['instances'] > 1 else '-',
      number(row['images_an_hour']),
      f'{row["ratio"]:.2f}',
    ]
    for row in result['rows']
  ]
  yield _table(('pictures side by side', 'form', 'images an hour', 'ratio'), rows)


def _full_size(result):
  rows = [
    [row['program'], number(row['compile_seconds']), number(row['seconds'])]
    for row in result['rows']
  ]
  yield _table(('', 'compilation, s', 'one iteration, s'), rows)
  memory = result['peak_memory_mib']['process'] / 1024
  yield f'Batch {result["setting"]["batch_size"]}; peak memory {memory:.1f} GiB.'


TABLES: dict[str, Callable] = {
  'fits': _fits,
  'steps': _steps,
  'roofline': _roofline,
  'generator': _generator,
  'renderer': _renderer,
  'scaling': _scaling,
  'gan_training': _gan_training,
  'throughput': _throughput,
  'full_size': _full_size,
}
"""Name of a benchmark -> function of its result that yields lines of a table, then notes."""
