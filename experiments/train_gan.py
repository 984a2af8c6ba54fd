"""Trains a StyleGAN2 on your own images, for reconstruction to start from.

  python experiments/train_gan.py --config=configs/train_heads.py \
      --config.gan_training.images=heads.npz --workdir=runs/gan
  python experiments/run.py --config.gan.weights=runs/gan/snapshots/00088000.safetensors

Images are an .npz archive ('images', uint8 [n, size, size, 3]), a folder of pictures or tfds:NAME.
The same command continues an interrupted training; docs/gan_training.md tells more.
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

import pathlib
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: trains and tells where the last snapshot is."""
  from gan2shape_jax import gan_training

  path = gan_training.train(config, pathlib.Path(workdir), stop=stop)
  return f'GAN: {path}\nuse: --config.gan.weights={path}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  flags.FLAGS.set_default('workdir', 'runs/gan')
  command.launch(work)
