"""Draws images from a GAN, with their latents: a data set for the other commands.

  python experiments/sample.py --num=16 --workdir=runs/samples
  python experiments/sample.py --seeds=3,7,20-29 --truncation=0.7 --config.gan.weights=mine.pt
  python experiments/run.py --config.data.images=runs/samples --workdir=runs/of_samples

Writes image/NNN.png (NNN is the seed, the size config.image_size), latents.npz ('w', 'names') and
samples.png, all of them on one sheet. experiments/run.py --config.data.source=samples
--config.data.num=16 starts on the same images without a folder.
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from gan2shape_jax.errors import ArtefactError, DataError

_NUM = flags.DEFINE_integer('num', 16, 'how many, from seed 0 on', lower_bound=1)
_SEEDS = flags.DEFINE_string('seeds', '', 'the seeds instead, such as 3,7,20-29')
_TRUNCATION = flags.DEFINE_float(
  'truncation', None, 'of the latents; config.data.spread where none is given'
)
_SHEET_COLUMNS = 8
_LARGEST = 100_000  # images of one call


def parse_seeds(text: str) -> list[int]:
  """The seeds that a text lists.

  Args:
    text: numbers and ranges, such as '3,7,20-29'.

  Returns:
    The seeds in their order, each once.

  Raises:
    DataError: the text lists something else, or too many.
  """

  expected = f'--seeds={text}: expected whole numbers and ranges from 0 on, such as 3,7,20-29'
  seeds = []
  for part in text.split(','):
    match = re.fullmatch(r'\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?', part)
    if not match:
      raise DataError(expected)
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < first + _LARGEST - len(seeds):
      raise DataError(f'{expected}, at most {_LARGEST}')
    seeds += range(first, last + 1)
  return list(dict.fromkeys(seeds))


def write_samples(
  config: ConfigDict, workdir, seeds: Sequence[int], *, spread: float = 1.0
) -> pathlib.Path:
  """Draws images and writes them as a data set.

  Args:
    config: a whole configuration; `config.gan` and `config.image_size` count.
    workdir: the folder, made if missing.
    seeds: one for each image.
    spread: truncation of the latents, beside that of `config.gan.truncation`.

  Returns:
    The path of the contact sheet.

  Raises:
    ArtefactError: the folder holds other pictures or cannot be written.
    DataError, SettingsError, WeightsError: one line that names the file or the setting.
  """
  from gan2shape_jax.artefacts import image_files
  from gan2shape_jax.pipeline import config_checks, setup, sources
  from gan2shape_jax.pipeline.frozen_weights import load_frozen
  from gan2shape_jax.storage import atomic_files

  workdir = pathlib.Path(workdir)
  config_checks.check_config(config)
  names = [sources.sample_name(seed) for seed in seeds]
  folder = workdir / 'image'
  atomic_files.sweep(folder)
  others = sorted({path.stem for path in folder.glob('*')} - set(names))
  if others:
    raise ArtefactError(
      f'cannot write {folder}: it holds {len(others)} other pictures ({others[0]}, ...), expected '
      'another --workdir'
    )
  settings = setup.settings_from_config(config)
  drawn = sources.draw_samples(
    load_frozen(config, critic=False), settings, config.image_size, seeds, spread=spread
  )
  images = [image_files.to_uint8(image) for image in drawn.images]
  for name, image in zip(names, images, strict=True):
    image_files.write_png(folder / f'{name}.png', image)
  arrays = {'w': drawn.latents, 'names': np.array(names), 'spread': np.float32(spread)}
  atomic_files.write_arrays(workdir / 'latents.npz', arrays)
  rows = [images[k : k + _SHEET_COLUMNS] for k in range(0, len(images), _SHEET_COLUMNS)]
  labels = [' '.join(names[k : k + _SHEET_COLUMNS]) for k in range(0, len(names), _SHEET_COLUMNS)]
  cell = min(192, max(96, config.image_size))
  sheet = image_files.contact_sheet(rows, [''] * len(rows[0]), labels, cell=cell)
  image_files.write_png(workdir / 'samples.png', sheet)
  return workdir / 'samples.png'


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: draws the images and tells where they are."""
  seeds = parse_seeds(_SEEDS.value) if _SEEDS.value else range(_NUM.value)
  spread = config.data.spread if _TRUNCATION.value is None else _TRUNCATION.value
  sheet = write_samples(config, workdir, seeds, spread=spread)
  return f'samples: {sheet}\nuse: --config.data.images={workdir}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  flags.FLAGS.set_default('workdir', 'runs/samples')
  command.launch(work)
