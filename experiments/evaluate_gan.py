"""Measures a GAN against images that it was not trained on.

  python experiments/render_heads.py --output=runs/heads/held_out --num=20000 --seed=1 --images_only
  python experiments/evaluate_gan.py --config.gan_training.images='runs/heads/held_out-*.npz' \
      --config.gan.weights=runs/gan/snapshots/00088000.safetensors --judge=embedded:heads

Prints FID, KID, precision and recall of as many of its images as real ones, by the features of a
network with random weights, and with --judge by those of that GAN's discriminator too; and the
lengths of random steps in the image for steps of the latent. Where there are twice as many real
images, the second half is compared with the first: what perfect images would reach. Writes
gan.json. Figures by these features compare with each other only, not with published ones.
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

import pathlib
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

_NUM = flags.DEFINE_integer('num', 10_000, 'images of each set', lower_bound=2)
_JUDGE = flags.DEFINE_string(
  'judge', '', 'a GAN whose discriminator judges as well, a file or embedded:heads'
)


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: measures and returns the table."""
  del stop  # nothing is kept on the way
  from gan2shape_jax import evaluation
  from gan2shape_jax.gan_training import quality, training_images
  from gan2shape_jax.pipeline import config_checks, frozen_weights
  from gan2shape_jax.runtime.progress import Progress
  from gan2shape_jax.storage import atomic_files

  config_checks.check_config(config)
  judge = None
  if _JUDGE.value:
    judged = config.copy_and_resolve_references()
    judged.gan.weights = _JUDGE.value
    judge = frozen_weights.load_frozen(judged, critic=True).discriminator
  progress = Progress(_NUM.value, label='gan')
  rows = quality.measure_gan(
    config, training_images.load_images(config), _NUM.value, judge=judge, tell=progress.show
  )
  progress.close()
  path = pathlib.Path(workdir) / 'gan.json'
  content = {'weights': config.gan.weights, 'images': config.gan_training.images, 'rows': rows}
  atomic_files.write_json(path, content | {'num': _NUM.value})
  named = [{'name': f'{row["images"]}, {row["features"]}'} | row for row in rows]
  columns = ('name', 'fid', 'kid', 'precision', 'recall', 'path_length', 'path_length_std')
  table = [{key: row[key] for key in columns if key in row} for row in named]
  return f'{evaluation.format_table(table, summary=False)}\nwritten: {path}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  flags.FLAGS.set_default('workdir', 'runs/gan_quality')
  command.launch(work)
