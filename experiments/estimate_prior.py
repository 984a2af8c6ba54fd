"""Estimates the view and light prior of a category from pictures of it.

  python experiments/estimate_prior.py --config.data.images=/my/pictures --workdir=runs/prior

Writes prior.npz (view_mean, view_cov, light_mean, light_cov in network units), which a run takes by
--config.prior.view_light=runs/prior/prior.npz. Networks are trained jointly on the pictures
(experiments/pretrain.py), first with a broad prior and hardly any weight on it, so that views come
out in the amount that the relief of the prior shape (prior.near, prior.far, joint.box) asks for;
then once more, from nothing, with the Gaussian of the first round's predictions. No depth and no
label is used. The same command continues an interrupted run.

What cannot be told from pictures stays at the broad prior's mean: the absolute pitch, and the
amount of all rotations together with the amount of relief (the bas-relief ambiguity).
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

import pathlib
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

_ROUNDS = flags.DEFINE_integer('rounds', 2, 'trainings, each with the prior of the one before')


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: estimates the prior and tells what it is."""
  from gan2shape_jax.pretraining import prior_estimation

  folder = pathlib.Path(workdir)
  prior = prior_estimation.estimate(config, folder, rounds=_ROUNDS.value, stop=stop)
  return f'{prior_estimation.describe(prior, config)}\nprior: {folder / "prior.npz"}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  flags.FLAGS.set_default('workdir', 'runs/prior')
  command.launch(work)
