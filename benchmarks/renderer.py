"""What the renderer costs in time and memory, beside other ways and a ray caster in C.

  python -m benchmarks.renderer --sizes 32 64 128 256 512 --views 1 16 64 256 --json=renderer.json

Shows a smooth surface like a head's in turntable views: the depth in each view forward, and with
the gradient to depth and views ('and backward'). The ways take turns in each round, so that what
else the machine does falls on all. 'temp' is XLA's count of a compiled program's temporary memory;
what would take more than --memory, or by the last measurement longer than --patience, is left out.
Every way's depth is compared with the ray caster's (trimesh, on embree where embreex is installed)
inside what both see, two pixels from its rim; gradients are compared with ours.
"""

import argparse
import functools
import math
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from benchmarks import gan_training, measuring, rasterisers
from gan2shape_jax import renderer
from gan2shape_jax.storage import atomic_files

_CAMERA = renderer.Camera()
_NEAR, _FAR = 0.8, 1.2
WAYS = 'ours', 'ours, views in turn', 'ours, with image', 'fragments', 'splat'
_PASSES = 'forward', 'and backward'
_COMPARED = 4  # views that the ray caster is asked for


def head(size: int) -> np.ndarray:
  """Depth [size, size] of a smooth surface: a skull, a nose and two eye sockets."""
  v, u = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing='ij')
  bump = lambda x, y, width: np.exp(-((u - x) ** 2 + (v - y) ** 2) / width)
  eyes = 0.005 * (bump(-0.3, -0.15, 0.02) + bump(0.3, -0.15, 0.02))
  return np.float32(1.03 - 0.06 * bump(0, 0, 0.5) - 0.012 * bump(0, 0.1, 0.02) + eyes)


def ways(depth: np.ndarray, views: np.ndarray) -> dict:
  """Name -> function of depth [size, size] and views [n, 6] that gives depths [n, size, size]."""
  box = rasterisers.box_size(depth, jnp.asarray(views), _CAMERA)
  fragments = functools.partial(rasterisers.fragments, camera=_CAMERA, box=box)
  splat = functools.partial(rasterisers.splat, camera=_CAMERA)
  texture = np.broadcast_to(np.float32(depth)[..., None] - 1, (*depth.shape, 3))
  bounded = lambda seen: jnp.clip(seen, _NEAR, _FAR)

  def ours(depth, view):
    return renderer.depth_in_view(depth, view, _CAMERA, near=_NEAR, far=_FAR)[0]

  def image(depth, view):
    light = renderer.light_from_code(jnp.array([0.0, 0.0, 0.3, -0.2]))
    return renderer.render(texture, depth, light, view, _CAMERA, near=_NEAR, far=_FAR).image

  functions = (
    lambda depth, views: jax.vmap(lambda view: ours(depth, view))(views),
    lambda depth, views: jax.lax.map(lambda view: ours(depth, view), views),
    lambda depth, views: jax.vmap(lambda view: image(depth, view))(views),
    lambda depth, views: bounded(jax.vmap(lambda view: fragments(depth, view))(views)),
    lambda depth, views: bounded(jax.vmap(lambda view: splat(depth, view))(views)),
  )
  return dict(zip(WAYS, functions, strict=True))


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
    cast = lambda: [rasterisers.raycast(depth, view, _CAMERA) for view in views]
    if expected(rows[-1]) <= options.patience:
      calls['ray caster', 'forward'] = cast
  taken = gan_training.measure(calls, options.rounds, options.seconds)
  first = {name: taken.get(('ours', name)) for name in _PASSES}
  for row in rows:
    seconds = taken.get((row['way'], row['pass']))
    row['seconds'] = seconds
    if seconds is not None and first[row['pass']]:
      row['times_ours'] = seconds / first[row['pass']]
  return rows, _compare(depth, views, outputs)


def _compare(depth, views, outputs):
  """Rows of how far each way's depths are from the ray caster's, and gradients from ours."""
  if not outputs:
    return []
  some = np.unique(np.linspace(0, len(views) - 1, _COMPARED).astype(int))
  some = some if rasterisers.caster() == 'embree' or len(depth) <= 32 else some[:0]
  truth = [rasterisers.raycast(depth, views[k], _CAMERA) for k in some]
  rows = []
  for way in ('ours', 'fragments', 'splat'):
    row = {'way': way, 'size': len(depth), 'views': len(views)}
    seen = outputs.get((way, 'forward'))
    if seen is not None and truth:
      errors, agreed = [], []
      for k, exact in zip(some, truth, strict=True):
        shown, hit = np.asarray(seen[k]), np.isfinite(exact)
        interior = ndimage.binary_erosion(hit & (shown < _FAR), iterations=2)
        errors.append(np.abs(shown - exact)[interior])
        agreed.append(((shown < _FAR) == hit).mean())
      errors = np.concatenate(errors)
      row |= {'mean_abs_difference': float(errors.mean()), 'largest': float(errors.max())}
      row['coverage_agrees'] = float(np.mean(agreed))
    gradients, own = (outputs.get((name, 'and backward')) for name in (way, 'ours'))
    if gradients is not None and own is not None:
      for name, a, b in zip(('depth', 'views'), gradients, own, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        row[f'gradient_{name}'] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    rows.append(row)
  return rows


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
  """The command; returns the report."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--sizes', type=int, nargs='+', default=[32, 64, 128], help='pixels')
  parser.add_argument('--views', type=int, nargs='+', default=[1, 16])
  parser.add_argument('--ways', nargs='+', default=list(WAYS), choices=WAYS, metavar='WAY')
  parser.add_argument('--rounds', type=int, default=3, help='of which the median is taken')
  parser.add_argument('--seconds', type=float, default=0.1, help='of a round for each way')
  parser.add_argument('--memory', type=float, default=4096.0, help='MiB that a way may take')
  parser.add_argument('--patience', type=float, default=10.0, help='seconds a call may take')
  parser.add_argument('--json', metavar='PATH', help='write the report there as well')
  options = parser.parse_args(arguments)
  options.ways = {'ours', *options.ways}
  report = {
    'machine': measuring.machine(),
    'versions': measuring.versions(),
    'ray_caster': rasterisers.caster(),
    'rows': [],
    'compared': [],
  }

  def expected(row):
    same = lambda r: all(r[k] == row[k] for k in ('way', 'pass')) and r['seconds']
    alike = [r for r in report['rows'] if same(r)]
    grown = lambda r: math.prod(row[k] / r[k] for k in ('size', 'size', 'views'))
    return alike[-1]['seconds'] * grown(alike[-1]) if alike else 0.0

  for size in sorted(options.sizes):
    for count in sorted(options.views):
      print(f'{size} px, {count} views ...', file=sys.stderr, flush=True)
      rows, compared = measure_setting(size, count, options, expected)
      report['rows'] += rows
      report['compared'] += compared
      report['growth'] = growth(report['rows'])
      if options.json:  # at once: a run that is cut short keeps what it measured
        atomic_files.write_json(options.json, report)
  print(_format(report))
  return report


def _format(report):
  def text(value, width, digits='.3g'):
    return f'{"-" if value is None else format(value, digits):>{width}}'

  lines = [
    *measuring.heading(report),
    f'ray caster: {report["ray_caster"]}',
    '',
    f'{"":21}{"":13}{"px":>5}{"views":>6}{"ms":>10}{"x ours":>8}{"temp MiB":>10}',
  ]
  for row in report['rows']:
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
  for row in report['compared']:
    numbers = ''.join(text(row.get(name), 11) for name in names)
    lines.append(f'{row["way"]:11}{row["size"]:5d}{row["views"]:6d}{numbers}')
  names = [f'{what}_by_{by}' for what in ('seconds', 'temp_mib') for by in ('size', 'views')]
  lines += ['', f'{"grows with the power":34}' + ''.join(f'{name:>18}' for name in names)]
  for row in report['growth']:
    numbers = ''.join(text(row.get(name), 18, '.2f') for name in names)
    lines.append(f'{row["way"]:21}{row["pass"]:13}{numbers}')
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
