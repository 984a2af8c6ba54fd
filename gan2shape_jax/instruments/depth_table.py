"""The reconstruction against the true depth, beside what looks at no picture.

The table's rows are told in experiments/evaluate.py.
"""

import csv
import functools
import io
import pathlib
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import artefacts, data, evaluation
from gan2shape_jax.errors import DataError
from gan2shape_jax.instruments import fits
from gan2shape_jax.pipeline import collection, setup, sources
from gan2shape_jax.pipeline.assembly import assemble
from gan2shape_jax.reconstruction import priors
from gan2shape_jax.reconstruction.state import Instance
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.statistics import mean_and_deviation

_RANGES = ((0.91, 1.02), (0.95, 1.03), (0.97, 1.03))  # nearest and farthest depth of ellipsoids
_METRICS = ('side_x100', 'mad')
_COLUMNS = ('name', 'side_x100', 'side_x100_std', 'mad', 'mad_std', 'n')
_NOTE = (
  'SIDE x100 and MAD (degrees): mean and standard deviation over n pictures. Compared in the '
  "picture's view where the true surface, confined to the region and eroded by 3x3, and the "
  'predicted one, eroded by 3x3, are both seen. The oracle row has looked at true depths.'
)


def evaluate_all(
  config: ConfigDict,
  workdir,
  *,
  baselines_only: bool = False,
  stop: Callable[[], bool] = lambda: False,
) -> list[dict]:
  """Measures baselines, trained starting networks and the reconstruction.

  Args:
    config: a whole configuration, whose pictures have true depth.
    workdir: folder of the reconstruction.
    baselines_only: leave the reconstruction out.
    stop: tells whether to stop; the reconstruction then raises `Preempted`, saved.

  Returns:
    Rows of the table: name, side_x100, side_x100_std, mad, mad_std, n.

  Raises:
    DataError: the pictures have no true depth, and whatever `collection.reconstruct_all` raises.
  """
  pictures = list(sources.load_pictures(config))
  if any(picture.depth is None for picture in pictures):
    if config.data.source != 'images':
      raise DataError(
        f'data.source={config.data.source!r}: expected pictures with true depths, samples have none'
      )
    raise DataError(
      f'{config.data.images}: expected true depths beside the pictures, or data.depths to name them'
    )
  rows = baseline_rows(config, pictures)
  if config.networks.pretrained:
    rows.append(_summary('initial networks', initial_metrics(config, pictures)))
  if not baselines_only:
    rows.append(_summary('reconstruction', collection.reconstruct_all(config, workdir, stop=stop)))
  return rows


def baseline_rows(config: ConfigDict, pictures: Sequence) -> list[dict]:
  """Rows of all predictions that no network makes.

  Args:
    config: names the pictures' folder, the camera and the prior.
    pictures: those evaluated, each a `data.Picture` with true depth.

  Returns:
    Rows of the table.
  """
  camera = setup.settings_from_config(config).camera
  everywhere = np.ones((config.image_size,) * 2)

  def row(name, predict):
    metrics = [
      evaluation.evaluate(predict(picture), everywhere, picture.depth, picture.region, camera)
      for picture in pictures
    ]
    return _summary(name, metrics)

  def prior(picture, make, mask):
    try:
      return make(mask)
    except ValueError as error:
      raise DataError(f'{picture.path}: {error}') from error

  folder = _whole_folder(config, pictures)
  fixed = evaluation.baseline_depths(
    [picture.depth for picture in folder],
    None if folder[0].region is None else [picture.region for picture in folder],
  )
  rows = [
    row('constant depth', lambda _: fixed['constant']),
    row(f'mean true depth of {len(folder)} (oracle)', lambda _: fixed['mean']),
  ]
  own = (config.prior.near, config.prior.far)
  for near, far in dict.fromkeys((*_RANGES, own)):
    name = f'ellipsoid {near:g} to {far:g}' + (' (config.prior)' if (near, far) == own else '')
    make = functools.partial(priors.prior_depth, category='head', near=near, far=far)
    rows.append(row(name, lambda picture, make=make: prior(picture, make, _region(picture))))

  def start(picture):
    mask = data.elliptic_mask(config.image_size) if picture.mask is None else picture.mask
    return prior(picture, functools.partial(setup.prior_depth, config), mask)

  rows.append(row("start: config.prior, picture's mask", start))
  return rows


def initial_metrics(config: ConfigDict, pictures: Sequence) -> list[dict]:
  """Metrics of the starting networks' own predictions, one dict a picture.

  Args:
    config: a whole configuration with trained starting networks.
    pictures: those evaluated, each a `data.Picture` with true depth.

  Returns:
    What `evaluation.evaluate` gives for each.
  """
  from gan2shape_jax import data, evaluation

  shared = assemble(config)
  settings, latent = shared.settings, shared.frozen.mean_latent  # the latent is not looked at
  look, metrics = fits.starting_factors(shared), []
  for picture in pictures:
    mask = data.elliptic_mask(config.image_size) if picture.mask is None else picture.mask
    instance = Instance(jnp.asarray(picture.image), jnp.asarray(mask), latent)
    seen = artefacts.result_from_factors(
      picture.name,
      picture.image,
      look(instance),
      settings.camera,
      near=settings.min_depth - settings.depth_margin,
      far=settings.max_depth + settings.depth_margin,
    )
    metrics.append(
      evaluation.evaluate(
        seen.view_depth, seen.valid, picture.depth, picture.region, settings.camera
      )
    )
  return metrics


def write_table(workdir, rows: Sequence[dict]):
  """Writes evaluation.csv and evaluation.md, each whole or not at all.

  Args:
    workdir: the folder, made if missing.
    rows: of the table.

  Raises:
    ArtefactError: the folder cannot be written.
  """
  workdir = pathlib.Path(workdir)
  text = io.StringIO()
  writer = csv.DictWriter(text, _COLUMNS, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  atomic_files.write_text(workdir / 'evaluation.csv', text.getvalue())
  lines = ['| depth | SIDE x100 | MAD (degrees) | n |', '|---|---|---|---|']
  lines += [f'| {" | ".join(_cells(row))} |' for row in rows]
  atomic_files.write_text(workdir / 'evaluation.md', '\n'.join([*lines, '', _NOTE, '']))


def format_rows(rows: Sequence[dict]) -> str:
  """The table for a terminal."""
  table = [('depth', 'SIDE x100', 'MAD (degrees)', 'n'), *(_cells(row) for row in rows)]
  widths = [max(len(line[k]) for line in table) for k in range(4)]
  aligned = lambda line: [cell.rjust(width) for cell, width in zip(line, widths, strict=True)][1:]
  return '\n'.join('  '.join([line[0].ljust(widths[0]), *aligned(line)]) for line in table)


def _cells(row):
  side = f'{row["side_x100"]:.2f} ± {row["side_x100_std"]:.2f}'
  mad = f'{row["mad"]:.1f} ± {row["mad_std"]:.1f}'
  return row['name'], side, mad, str(row['n'])


def _summary(name, metrics):
  """A row of the table from the metrics of the pictures; those without a value do not count."""
  row = {'name': name}
  for metric in _METRICS:
    row[metric], row[f'{metric}_std'], row['n'] = mean_and_deviation(m.get(metric) for m in metrics)
  return row


def _whole_folder(config, pictures):
  """All pictures of the folder, or those evaluated where others have no true depth."""
  whole = config.copy_and_resolve_references()
  whole.data.start = whole.data.num = 0
  try:
    return list(sources.load_pictures(whole))
  except DataError:
    return pictures


def _region(picture):
  """The region of the metrics; without one, the true surface itself."""
  if picture.region is not None:
    return picture.region
  return (picture.depth < picture.depth.max()).astype(np.float32)
