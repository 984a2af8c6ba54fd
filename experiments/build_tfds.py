"""Packs a folder of pictures into array_record, for others to load with TensorFlow Datasets.

  python experiments/build_tfds.py --source=heads/dev --data_dir=~/tensorflow_datasets

The folder has image/ and, where they are known, mask/, head_mask/, depth/ and latents.npz. Then

  tfds.data_source('gan2shape_heads', split='train', data_dir=...)

reads it anywhere, and experiments/run.py here with

  --config.data.source=tfds:gan2shape_heads --config.data.tfds_dir=...

Needs the extra `pip install 'gan2shape_jax[tfds]'`; neither needs TensorFlow.
"""

import contextlib
import io
import sys
from collections.abc import Sequence

from absl import app, flags, logging

from gan2shape_jax.data.tfds_source import require_tfds
from gan2shape_jax.errors import DataError

_SOURCE = flags.DEFINE_string('source', None, 'Folder with image/.', required=True)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', None, 'Folder of all TFDS data, made if missing.', required=True
)
_SIZE = flags.DEFINE_integer('size', 64, 'Takes image128/ and so on where they are, else image/.')


def main(arguments: Sequence[str]) -> int | None:
  """Writes one data set; returns the exit code."""
  if len(arguments) > 1:
    return _failed(f'unknown argument {arguments[1]!r} (see --help)')
  logging.set_verbosity(logging.ERROR)
  try:
    require_tfds('build_tfds').disable_progress_bar()
    from gan2shape_jax.data import tfds_heads

    with contextlib.redirect_stdout(io.StringIO()):  # TFDS would tell of downloads, there are none
      written = tfds_heads.build(_SOURCE.value, _DATA_DIR.value, size=_SIZE.value)
  except DataError as error:
    return _failed(error)
  print(written)
  return None


def _failed(message):
  print(f'build_tfds: {message}', file=sys.stderr)
  return 1


if __name__ == '__main__':
  app.run(main)
