"""Finds the GAN's latents of pictures, without reconstructing anything.

  python experiments/invert.py --config.data.images=/my/photos --workdir=runs/photos

Writes latents.npz ('w' in the pictures' order, 'names', 'image_l1', 'gan_distance') and for each
picture NAME/inversion.png: the picture, the GAN's image of its latent and what it misses. Look at
these before hours of reconstruction; experiments/run.py into the same folder takes the latents from
there. Latents that the pictures come with are not looked at. The same command continues an
interrupted search and finds anew what another picture, GAN or setting was found for.
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

import pathlib
from collections.abc import Callable

import numpy as np
from absl import flags
from ml_collections import ConfigDict


def invert_all(
  config: ConfigDict, workdir, *, stop: Callable[[], bool] = lambda: False
) -> list[dict]:
  """Finds the latents of all pictures that a configuration names.

  Args:
    config: a whole configuration; `config.inversion` sets the search.
    workdir: folder for the results, made if missing.
    stop: asked after every iteration whether to stop.

  Returns:
    A row for each picture: name, inversion_l1, gan_distance.

  Raises:
    ArtefactError, DataError, FitError, SettingsError, WeightsError: one line that names the file or
      the setting.
    Preempted: `stop` said so; the latents found are kept.
  """
  from gan2shape_jax.pipeline import config_checks, sources
  from gan2shape_jax.storage import folder_lock
  from gan2shape_jax.storage.workdir import check_names, check_workdir

  workdir = pathlib.Path(workdir)
  config_checks.check_config(config)
  chosen = config.copy_and_resolve_references()
  chosen.data.latents = 'none'
  pictures = sources.load_pictures(chosen)
  check_names(pictures.names, config)
  for picture in pictures:  # a damaged file is told before long work, not after
    _ = picture.image
  check_workdir(workdir, config)  # a run there keeps its own latents; none is claimed here
  with folder_lock.locked(workdir):
    return _invert(config, workdir, pictures, stop)


def _invert(config, workdir, pictures, stop):
  """Finds the latents of loaded pictures into a folder; returns the rows."""
  from gan2shape_jax.pipeline.frozen_weights import load_frozen
  from gan2shape_jax.pipeline.picture_latents import LatentFinder
  from gan2shape_jax.runtime.progress import Progress
  from gan2shape_jax.storage import atomic_files

  finder = LatentFinder(config, load_frozen(config), stop=stop)
  rows, latents = [], []
  for picture in pictures:
    progress = Progress(config.inversion.iterations, label=picture.name)
    found = finder.find(picture._replace(latent=None), workdir / picture.name, progress)
    latents.append(found.latent)
    rows.append({'name': picture.name} | found.metrics)
  arrays = {'w': np.stack(latents), 'names': np.array([row['name'] for row in rows])}
  for array, metric in (('image_l1', 'inversion_l1'), ('gan_distance', 'gan_distance')):
    arrays[array] = np.array([row.get(metric, np.nan) for row in rows], np.float32)
  atomic_files.write_arrays(workdir / 'latents.npz', arrays)
  return rows


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: finds the latents and returns the table of errors."""
  from gan2shape_jax import evaluation

  rows = invert_all(config, workdir, stop=stop)
  return f'{evaluation.format_table(rows)}\n\nlatents: {pathlib.Path(workdir) / "latents.npz"}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  flags.FLAGS.set_default('workdir', 'runs/inverted')
  command.launch(work)
