"""What the renderer costs in time and memory, beside other ways and a ray caster in C.

  python -m benchmarks.renderer --sizes 32 64 128 256 512 --views 1 16 64 256 --json=renderer.json

Shows a smooth surface like a head's in turntable views: the depth in each view forward, and with
the gradient to depth and views ('and backward'). The ways take turns in each round, so that what
else the machine does falls on all. 'temp' is XLA's count of a compiled program's temporary memory;
what would take more than --memory, or by the last measurement longer than --patience, is left out.
Every way's depth is compared with the ray caster's (trimesh, on embree where embreex is installed)
inside what both see, two pixels from its rim; gradients are compared with ours.
"""

import math
import sys
from collections.abc import Sequence

import jax
import numpy as np

from benchmarks.support import commands, rasterisers, results
from benchmarks.support.depth_ways import CAMERA, WAYS, compare, head, ways
from benchmarks.support.timing import measure_in_turns
from gan2shape_jax import renderer

_PASSES = 'forward', 'and backward'


def measure_setting(size: int, count: int, options, expected) -> tuple[list, list]:
  """All ways at one size and number of views.

  Args:
    size: of depth map and views, pixels.
    count: of views.
    options: of the command line.
    expected: (way, pass, size, count) -> seconds a call should take, from what was measured.

  Returns:
    Rows of times and memory for each way and pass, and rows of differences for each way.
  """
  depth = head(size)
  views = np.asarray(renderer.turntable_views(40.0, (count + 1) // 2, 20.0, count // 2))
  rows, calls, outputs = [], {}, {}
  for way, show in ways(depth, views).items():
    if way not in options.ways:
      continue
    loss = lambda depth, views, show=show: (show(depth, views) ** 2).mean()
    for name, function in zip(_PASSES, (show, jax.grad(loss, argnums=(0, 1))), strict=True):
      row = {'way': way, 'pass': name, 'size': size, 'views': count, 'seconds': None}
      rows.append(row)
      if expected(row) > options.patience:
        continue
      compiled = jax.jit(function).lower(depth, views).compile()
      row['temp_mib'] = compiled.memory_analysis().temp_size_in_bytes / 2**20
      if row['temp_mib'] > options.memory:
        continue
      call = lambda compiled=compiled: jax.block_until_ready(compiled(depth, views))
      calls[way, name], outputs[way, name] = call, call()
  if rasterisers.caster() == 'embree' or size <= 32:
    rows.append({'way': 'ray caster', 'pass': 'forward', 'size': size, 'views': count})
    cast = lambda: [rasterisers.raycast(depth, view, CAMERA) for view in views]
    if expected(rows[-1]) <= options.patience:
      calls['ray caster', 'forward'] = cast
  taken = measure_in_turns(calls, options.rounds, options.seconds)
  first = {name: taken.get(('ours', name)) for name in _PASSES}
  for row in rows:
    seconds = taken.get((row['way'], row['pass']))
    row['seconds'] = seconds
    if seconds is not None and first[row['pass']]:
      row['times_ours'] = seconds / first[row['pass']]
  return rows, compare(depth, views, outputs)


def growth(rows: Sequence[dict]) -> list[dict]:
  """Exponents with which time and memory grow: by the size at the most views, and by the views.

  Args:
    rows: as `measure_setting` gives them.

  Returns:
    A row for each way and pass that was measured at two or more settings.
  """
  result = []
  for way, name in dict.fromkeys((row['way'], row['pass']) for row in rows):
    own = [r for r in rows if (r['way'], r['pass']) == (way, name) and r.get('seconds')]
    entry = {'way': way, 'pass': name}
    for by, fixed in (('size', 'views'), ('views', 'size')):
      groups = [[r for r in own if r[fixed] == value] for value in {r[fixed] for r in own}]
      longest = max(groups, key=lambda group: (len(group), group[0][fixed]), default=[])
      if len(longest) < 2:
        continue
      for what in ('seconds', 'temp_mib'):
        values = [row.get(what) or 0 for row in longest]
        if min(values) > 0:
          slope = np.polyfit(np.log([row[by] for row in longest]), np.log(values), 1)[0]
          entry[f'{what}_by_{by}'] = float(slope)
    if len(entry) > 2:
      result.append(entry)
  return result


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__, config=None, rounds=3, seconds=0.1)
  parser.add_argument('--sizes', type=int, nargs='+', default=[32, 64, 128], help='pixels')
  parser.add_argument('--views', type=int, nargs='+', default=[1, 16])
  parser.add_argument('--ways', nargs='+', default=list(WAYS), choices=WAYS, metavar='WAY')
  parser.add_argument('--memory', type=float, default=4096.0, help='MiB that a way may take')
  parser.add_argument('--patience', type=float, default=10.0, help='seconds a call may take')
  options = parser.parse_args(arguments)
  options.ways = {'ours', *options.ways}
  result = results.begin('renderer', arguments, options.rounds)
  result |= {'ray_caster': rasterisers.caster(), 'compared': []}

  def expected(row):
    same = lambda r: all(r[k] == row[k] for k in ('way', 'pass')) and r['seconds']
    alike = [r for r in result['rows'] if same(r)]
    grown = lambda r: math.prod(row[k] / r[k] for k in ('size', 'size', 'views'))
    return alike[-1]['seconds'] * grown(alike[-1]) if alike else 0.0

  for size in sorted(options.sizes):
    for count in sorted(options.views):
      print(f'{size} px, {count} views ...', file=sys.stderr, flush=True)
      rows, compared = measure_setting(size, count, options, expected)
      result['rows'] += rows
      result['compared'] += compared
      result['growth'] = growth(result['rows'])
      results.keep(result, options.json)
  return results.finish(result, _format(result), options.json)


def _format(result):
  def text(value, width, digits='.3g'):
    return f'{"-" if value is None else format(value, digits):>{width}}'

  lines = [
    f'ray caster: {result["ray_caster"]}',
    '',
    f'{"":21}{"":13}{"px":>5}{"views":>6}{"ms":>10}{"x ours":>8}{"temp MiB":>10}',
  ]
  for row in result['rows']:
    seconds = row['seconds']
    lines.append(
      f'{row["way"]:21}{row["pass"]:13}{row["size"]:5d}{row["views"]:6d}'
      f'{text(seconds and 1e3 * seconds, 10, ".2f")}{text(row.get("times_ours"), 8, ".2f")}'
      f'{text(row.get("temp_mib"), 10, ".1f")}'
    )
  names = 'mean_abs_difference', 'largest', 'coverage_agrees', 'gradient_depth', 'gradient_views'
  short = 'mean |d|', 'largest', 'coverage', 'grad depth', 'grad views'
  lines += [
    '',
    'against the ray caster, and gradients against ours',
    f'{"":11}{"px":>5}{"views":>6}',
  ]
  lines[-1] += ''.join(f'{name:>11}' for name in short)
  for row in result['compared']:
    numbers = ''.join(text(row.get(name), 11) for name in names)
    lines.append(f'{row["way"]:11}{row["size"]:5d}{row["views"]:6d}{numbers}')
  names = [f'{what}_by_{by}' for what in ('seconds', 'temp_mib') for by in ('size', 'views')]
  lines += ['', f'{"grows with the power":34}' + ''.join(f'{name:>18}' for name in names)]
  for row in result['growth']:
    numbers = ''.join(text(row.get(name), 18, '.2f') for name in names)
    lines.append(f'{row["way"]:21}{row["pass"]:13}{numbers}')
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
