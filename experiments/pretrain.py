"""Trains depth, albedo, view and light networks jointly on pictures drawn from the GAN.

  python experiments/pretrain.py --workdir=runs/heads_pretrain

Writes networks.safetensors, from which reconstructions start with
--config.networks.pretrained=runs/heads_pretrain/networks.safetensors. No photograph and no depth is
used: pictures come from the GAN, the shape from probable symmetry, shading and the views' and
lights' prior. The same command continues an interrupted run.
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

import pathlib
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

_EVERY = flags.DEFINE_integer('checkpoint_every', 250, 'iterations between checkpoints')
_DTYPE = flags.DEFINE_enum('dtype', 'float16', ['float16', 'float32'], 'of the written weights')


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: trains and tells where the networks are."""
  from gan2shape_jax.pretraining import starting_networks

  path = starting_networks.pretrain(
    config, pathlib.Path(workdir), every=_EVERY.value, dtype=_DTYPE.value, stop=stop
  )
  return f'networks: {path}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  flags.FLAGS.set_default('workdir', 'runs/heads_pretrain')
  command.launch(work)
