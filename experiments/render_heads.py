"""Renders random parametric heads: pictures to train a GAN on, and their truth.

  python experiments/render_heads.py --output=runs/heads/train --num=64000 --images_only
  python experiments/train_gan.py --config=configs/train_heads.py \\
      --config.gan_training.images='runs/heads/train-*.npz'

writes runs/heads/train-00000-of-00064.npz and so on, each whole or absent, with `images` uint8
[n, size, size, 3]; without --images_only also `depths`, `normals`, `albedos`, `masks`,
`head_masks`, `views`, `lights`.

  python experiments/render_heads.py --form=folder --output=runs/heads/dev --num=100 --seed=1 \\
      --view_scale=0.6
  python experiments/run.py --config.data.images=runs/heads/dev --workdir=runs/of_dev

writes a folder with image/, depth/ (16 bits: depth = 1.1 - 0.2 v / 65535, 0 is background), mask/,
head_mask/, normal/, albedo/ and truth.npz (`view`, `light`). For array_record, experiments/
build_tfds.py --source=FOLDER packs such a folder.

A head depends on --seed and its number alone (and --size, --view_scale), not on shards or
processes. The same command goes on after an interruption: what is there already is passed over.
Needs `pip install 'gan2shape_jax[heads]'`.
"""

import os
import pathlib
import signal
import sys
import time
from collections.abc import Sequence

from absl import app, flags

from gan2shape_jax.errors import ArtefactError, DataError

_OUTPUT = flags.DEFINE_string(
  'output', None, 'the folder; of shards the path without -00000-of-00004.npz', required=True
)
_FORM = flags.DEFINE_enum('form', 'npz', ['npz', 'folder'], 'shards or pictures')
_NUM = flags.DEFINE_integer('num', 1000, 'how many heads')
_START = flags.DEFINE_integer('start', 0, 'number of the first')
_SIZE = flags.DEFINE_integer('size', 64, 'width and height in pixels')
_SEED = flags.DEFINE_integer('seed', 0, 'of everything random')
_VIEW_SCALE = flags.DEFINE_float('view_scale', 1.0, 'multiplies pitch (sd 7) and yaw (sd 22)')
_IMAGES_ONLY = flags.DEFINE_bool('images_only', False, 'leave the truth out')
_SHARD_SIZE = flags.DEFINE_integer('shard_size', 1000, 'with --form=npz: heads in each')
_PROCESSES = flags.DEFINE_integer('processes', 0, 'how many work; 0 = one on each core')


def main(arguments: Sequence[str]) -> int:
  """Renders one set; returns the exit code."""
  if len(arguments) > 1:
    return _failed(f'unknown argument {arguments[1]!r} (see --help)')
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever is written is whole
  from gan2shape_jax import head_rendering
  from gan2shape_jax.runtime.progress import Progress

  output = pathlib.Path(_OUTPUT.value).expanduser()
  settings = head_rendering.Settings(
    _SIZE.value, _SEED.value, _VIEW_SCALE.value, _IMAGES_ONLY.value
  )
  processes = _PROCESSES.value or _cores()
  progress = Progress(_NUM.value, label='heads')
  begin, first, last = 0.0, 0, -1

  def tell(done):
    nonlocal begin, first, last
    if done != last + 1:  # heads that were there already take no time
      begin, first = time.monotonic(), done
    last = done
    seconds, made = time.monotonic() - begin, done - first
    rate = f', {made / seconds:.1f} a second' if made and seconds > 0 else ''
    progress.show(f'{done}/{_NUM.value}{rate}')

  options = {'num': _NUM.value, 'start': _START.value, 'processes': processes, 'tell': tell}
  try:
    maker = head_rendering.HeadMaker(head_rendering.load_model(), settings)
    if _FORM.value == 'folder':
      head_rendering.write_folder(maker, output, **options)
      print(f'heads: {output}')
    else:
      paths = head_rendering.write_shards(maker, output, shard_size=_SHARD_SIZE.value, **options)
      print(f'heads: {paths[0]}' + (f' to {paths[-1].name}' if len(paths) > 1 else ''))
  except (DataError, ArtefactError) as error:
    return _failed(error)
  except KeyboardInterrupt:
    return _failed('interrupted: the same command goes on from there', code=130)
  return 0


def _cores():
  """How many cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _failed(message, code=1):
  print(f'render_heads: {message}', file=sys.stderr)
  return code


if __name__ == '__main__':
  app.run(main)
