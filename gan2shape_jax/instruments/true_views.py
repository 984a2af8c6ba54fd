"""Step 3 on true pictures of a head in place of projections: what a perfect GAN would let it reach.

Each head's picture comes with truth and with pictures of the same head from other views, under
other lights. Step 3 has them as projections, once with their views and the picture's own as they
are, once with errors such as the networks make.
"""

import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import artefacts, evaluation
from gan2shape_jax.errors import ArtefactError, FitError, Preempted
from gan2shape_jax.head_rendering import HeadMaker
from gan2shape_jax.instruments.fits import StepThree
from gan2shape_jax.instruments.true_pictures import Bed, Scene, check_bed, make_scene, perturbed
from gan2shape_jax.reconstruction.state import Factors, Settings
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.workdir import read_json

_METRICS = ('side_x100', 'mad')
_COLUMNS = (('start', 'start'), ('given', 'views given'), ('perturbed', 'views perturbed'))


def score(factors: Factors, scene: Scene, settings: Settings) -> dict[str, float]:
  """Depth metrics of a fit in the picture's view.

  Args:
    factors: of the fit.
    scene: with the truth.
    settings: of the method.

  Returns:
    What `evaluation.evaluate` tells.
  """
  seen = artefacts.result_from_factors(
    'head',
    np.asarray(scene.instance.image),
    factors,
    settings.camera,
    near=settings.min_depth - settings.depth_margin,
    far=settings.max_depth + settings.depth_margin,
  )
  return evaluation.evaluate(
    seen.view_depth, seen.valid, scene.depth, scene.region, settings.camera
  )


def measure_head(
  step3: StepThree, maker: HeadMaker, number: int, bed: Bed, settings: Settings, latent
) -> dict:
  """Measures step 3 on one head.

  Args:
    step3: what is measured.
    maker: of the heads.
    number: of the head.
    bed: numbers of the test bed.
    settings: of the method.
    latent: [w_dim], any.

  Returns:
    A row: name; side_x100 and mad of start, given and perturbed, as `given_mad`; and seconds, which
    the second fit took (the first may compile).
  """
  scene = make_scene(maker, number, bed, settings, latent)
  start = step3.start(scene.instance)
  depths = jnp.broadcast_to(start.depth[None], scene.projections.picture_depth.shape)
  scene = scene._replace(projections=scene.projections._replace(picture_depth=depths))
  told_wrongly = perturbed(scene, number, bed, settings)
  given = jax.device_get(step3.fit(scene.instance, scene.projections, scene.view))
  begin = time.monotonic()
  other = jax.device_get(step3.fit(scene.instance, told_wrongly.projections, told_wrongly.view))
  seconds = time.monotonic() - begin
  row = {'name': f'{number:05d}'}
  for name, factors in (('start', start), ('given', given), ('perturbed', other)):
    metrics = score(factors, scene, settings)
    row |= {f'{name}_{metric}': metrics[metric] for metric in _METRICS}
  return row | {'seconds': round(seconds, 3)}


def measure_all(
  step3: StepThree,
  maker: HeadMaker,
  bed: Bed,
  settings: Settings,
  latent,
  folder: pathlib.Path,
  *,
  tell: Callable[[str], None] = lambda text: None,
  stop: Callable[[], bool] = lambda: False,
) -> list[dict]:
  """Measures all heads; those that an earlier call finished are passed over.

  Args:
    step3: what is measured.
    maker: of the heads.
    bed: numbers of the test bed.
    settings: of the method.
    latent: [w_dim], any.
    folder: where finished heads are kept.
    tell: takes a line after each head.
    stop: asked before each head whether to end.

  Returns:
    A row of `measure_head` for each.

  Raises:
    SettingsError: the bed's numbers do not fit.
    DataError: the extra `heads` is not installed.
    FitError: the folder holds heads measured otherwise.
    ArtefactError: a file cannot be read or written.
    Preempted: `stop` said so.
  """
  check_bed(bed, settings)
  claim = {name: value for name, value in bed._asdict().items() if name != 'heads'}
  rows = []
  for number in range(bed.heads):
    path = folder / f'{number:05d}.json'
    if path.exists():
      rows.append(_kept_row(path, claim))
      continue
    if stop():
      raise Preempted(f'{folder}: stopped after {number} of {bed.heads} heads, saved')
    rows.append(measure_head(step3, maker, number, bed, settings, latent))
    atomic_files.write_json(path, {'bed': claim, 'row': rows[-1]})
    told = ', '.join(
      f'{title} {rows[-1][f"{key}_side_x100"]:.2f}/{rows[-1][f"{key}_mad"]:.1f}'
      for key, title in _COLUMNS
    )
    tell(f'{number + 1}/{bed.heads} {told}, {rows[-1]["seconds"]:.1f} s')
  return rows


def write_tables(workdir: pathlib.Path, rows: Sequence[dict]) -> pathlib.Path:
  """Writes true_views.csv (every head, mean and deviation) and true_views.md (means).

  Args:
    workdir: the folder.
    rows: of `measure_head`.

  Returns:
    The path of the second.

  Raises:
    ArtefactError: the folder cannot be written.
  """
  workdir = pathlib.Path(workdir)
  evaluation.write_metrics(workdir / 'true_views.csv', rows)
  path = workdir / 'true_views.md'
  atomic_files.write_text(path, format_markdown(rows))
  return path


def format_markdown(rows: Sequence[dict]) -> str:
  """Means and deviations as a table in Markdown, with what they are."""
  mean, deviation = evaluation.summarize(rows)
  lines = ['| step 3 | SIDE x100 | MAD (degrees) | n |', '|---|---|---|---|']
  for key, title in _COLUMNS:
    side, mad = (f'{key}_{metric}' for metric in _METRICS)
    count = sum(bool(np.isfinite(row[side])) for row in rows)
    lines.append(
      f'| {title} | {mean[side]:.2f} ± {deviation[side]:.2f} '
      f'| {mean[mad]:.1f} ± {deviation[mad]:.1f} | {count} |'
    )
  note = (
    'SIDE x100 and MAD (degrees): mean and standard deviation over n rendered heads, each with '
    'true pictures from other views in place of projections. start: the starting networks, one '
    'look; views perturbed: with errors of pitch and yaw. '
    f'{mean["seconds"]:.1f} seconds a head after compilation.'
  )
  return '\n'.join([*lines, '', note, ''])


def _kept_row(path, claim):
  """The row of a finished head."""
  content = read_json(path)
  if not isinstance(content.get('row'), dict) or 'bed' not in content:
    raise ArtefactError(f'cannot read {path}: expected a head measured by true_views')
  changed = [f'{k} {content["bed"].get(k)!r} there, {v!r} here' for k, v in claim.items()
             if content['bed'].get(k) != v]  # fmt: skip
  if changed:
    raise FitError(
      f'{path}: this head was measured otherwise ({"; ".join(changed)}): choose another --workdir'
    )
  return {k: float('nan') if v is None else v for k, v in content['row'].items()}  # null: no number
