"""Trains a judge of views, with which projections are measured, on rendered heads.

  python experiments/render_heads.py --output=runs/judge/heads --num=12000 --seed=500
  python experiments/train_view_judge.py --heads='runs/judge/heads-*.npz' --check=heads/dev \\
      --workdir=runs/judge
  python experiments/evaluate.py --table=projections --judge=runs/judge/view_judge.safetensors

Writes view_judge.safetensors and view_judge.json, its errors on the last heads, which it is not
trained on, and on the pictures of --check, a folder with image/ and truth.npz (`view`), such as
render_heads.py --form=folder writes. It takes minutes and keeps nothing on the way.
"""

import glob
import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags

from gan2shape_jax.errors import ArtefactError, DataError, WeightsError

_HEADS = flags.DEFINE_string(
  'heads', None, "shards of render_heads.py, a glob: 'runs/judge/heads-*.npz'", required=True
)
_CHECK = flags.DEFINE_string('check', '', 'folder with image/ and truth.npz, to measure on too')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/judge', 'folder for the judge')
_ITERATIONS = flags.DEFINE_integer('iterations', 3000, 'of training')
_WIDTH = flags.DEFINE_integer('width', 16, "channels of the network's first level")
_HELD_OUT = flags.DEFINE_integer('held_out', 1000, 'the last so many heads are measured on alone')
_SEED = flags.DEFINE_integer('seed', 0, 'of the training')


def load_shards(pattern: str):
  """Pictures and views of shards.

  Args:
    pattern: a glob of archives with `images` and `views`.

  Returns:
    uint8 [n, size, size, 3] and float32 [n, 6], in the order of the archives' names.

  Raises:
    DataError: nothing matches, an archive is damaged, or sizes differ.
  """
  import numpy as np

  from gan2shape_jax.data.errors import read_arrays

  paths = sorted(glob.glob(str(pathlib.Path(pattern).expanduser())))
  if not paths:
    raise DataError(f'{pattern}: expected shards of render_heads.py, nothing matches')
  shards = [read_arrays(path, ('images', 'views')) for path in paths]
  for path, shard in zip(paths, shards, strict=True):
    images, views = shard['images'], shard['views']
    wanted = shards[0]['images'].shape[1:]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted:
      raise DataError(f'{path}: expected uint8 images [n, size, size, 3] as in {paths[0]}')
    if views.shape != (len(images), 6):
      raise DataError(f'{path}: expected views [{len(images)}, 6], found {views.shape}')
  return tuple(np.concatenate([shard[name] for shard in shards]) for name in ('images', 'views'))


def load_folder(folder: pathlib.Path, size: int):
  """Pictures and views of a folder.

  Args:
    folder: with image/ and truth.npz.
    size: of the pictures, pixels.

  Returns:
    float32 [n, size, size, 3] in [-1, 1] and float32 [n, 6].

  Raises:
    DataError: something is missing, or the numbers differ.
  """
  import numpy as np

  from gan2shape_jax.data import read_image
  from gan2shape_jax.data.errors import read_arrays
  from gan2shape_jax.data.listing import listed

  paths = listed(folder / 'image')
  views = read_arrays(folder / 'truth.npz', ('view',))['view']
  if views.shape != (len(paths), 6):
    raise DataError(f'{folder / "truth.npz"}: expected view [{len(paths)}, 6], found {views.shape}')
  return np.stack([read_image(path, size) for path in paths]), views


def main(arguments: Sequence[str]) -> int:
  """Trains, measures and writes; returns the exit code."""
  if len(arguments) > 1:
    return _failed(f'unknown argument {arguments[1]!r} (see --help)')
  from gan2shape_jax.instruments import view_judge
  from gan2shape_jax.models.networks import levels_of
  from gan2shape_jax.runtime.progress import Progress
  from gan2shape_jax.storage import atomic_files

  workdir, held_out = pathlib.Path(_WORKDIR.value), _HELD_OUT.value
  try:
    for flag in (_ITERATIONS, _WIDTH, _HELD_OUT):
      if flag.value < 1:
        raise DataError(f'--{flag.name}={flag.value}: expected at least 1')
    images, views = load_shards(_HEADS.value)
    size = images.shape[1]
    try:
      levels_of(size)
    except ValueError as error:
      raise DataError(f'{_HEADS.value}: {error}') from None
    if held_out >= len(images):
      raise DataError(f'--held_out={held_out}: expected fewer than the {len(images)} heads')
    sets = {'held out': (images[-held_out:], views[-held_out:])}
    if _CHECK.value:
      sets[_CHECK.value] = load_folder(pathlib.Path(_CHECK.value).expanduser(), size)
    progress = Progress(_ITERATIONS.value, label='judge')

    def tell(done, loss):
      if done == 1:
        progress.restart(done)
      if progress.due():
        progress.update(done, 'training', float(loss))

    judge = view_judge.train(
      images[:-held_out], views[:-held_out], iterations=_ITERATIONS.value, width=_WIDTH.value,
      seed=_SEED.value, tell=tell,
    )  # fmt: skip
    progress.close()
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / 'view_judge.safetensors'
    view_judge.save_judge(path, judge)
    rows = [_row(view_judge, judge, name, *pair) for name, pair in sets.items()]
    content = {'heads': _HEADS.value, 'trained_on': len(images) - held_out, 'errors': rows}
    atomic_files.write_json(workdir / 'view_judge.json', content)
  except (DataError, ArtefactError, WeightsError) as error:
    return _failed(error)
  except OSError as error:
    return _failed(f'cannot write {workdir}: {error.strerror or error}')
  except KeyboardInterrupt:
    return _failed('interrupted: nothing is written', code=130)
  for row in rows:
    print(f'{row["name"]}, {row["n"]} pictures: ' + ', '.join(_told(row, a) for a in row['angles']))
  print(f'judge: {path}')
  return 0


def _row(view_judge, judge, name, images, views):
  errors = view_judge.errors(view_judge.judge_views(judge, images), views)
  angles = {
    angle: {field: float(getattr(errors, field)[k]) for field in errors._fields}
    for k, angle in enumerate(view_judge.ANGLES)
  }
  return {'name': name, 'n': len(images), 'angles': angles}


def _told(row, angle):
  errors = row['angles'][angle]
  return f'{angle} wrong by {errors["deviation"]:.2f} degrees (R2 {errors["r2"]:.3f})'


def _failed(message, code=1):
  print(f'train_view_judge: {message}', file=sys.stderr)
  return code


if __name__ == '__main__':
  app.run(main)
