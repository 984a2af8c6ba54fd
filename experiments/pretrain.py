"""Trains depth, albedo, view and light networks jointly on pictures drawn from the GAN.

  python experiments/pretrain.py --workdir=runs/heads_pretrain

Writes networks.safetensors, from which reconstructions start with
--config.networks.pretrained=runs/heads_pretrain/networks.safetensors. No photograph and no depth is
used: pictures come from the GAN, the shape from probable symmetry, shading and the views' and
lights' prior. The same command continues an interrupted run.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from gan2shape_jax import data
from gan2shape_jax.assembly import load_frozen
from gan2shape_jax.checkpoints import CheckpointError, Checkpoints
from gan2shape_jax.models import stylegan2
from gan2shape_jax.progress import Progress
from gan2shape_jax.reconstruction import joint, priors, setup
from gan2shape_jax.reconstruction.state import FitState
from gan2shape_jax.weights import WeightsError, save_safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ('depth', 'albedo', 'view', 'light')

_CONFIG = config_flags.DEFINE_config_file(
  'config', str(ROOT / 'configs' / 'heads.py'), 'configuration file, or file:variant'
)
_WORKDIR = flags.DEFINE_string('workdir', 'runs/heads_pretrain', 'folder for the results')
_EVERY = flags.DEFINE_integer('checkpoint_every', 250, 'iterations between checkpoints')
_DTYPE = flags.DEFINE_enum('dtype', 'float16', ['float16', 'float32'], 'of the written weights')
_NETWORKS = flags.DEFINE_list('networks', list(KEPT), 'networks written to the file')


def pretrain(config, workdir: pathlib.Path, *, every: int, networks_kept, dtype) -> pathlib.Path:
  """Runs joint training and writes the networks.

  Args:
    config: a whole configuration; `config.joint` sets the training.
    workdir: folder for checkpoints and result.
    every: iterations between checkpoints.
    networks_kept: names of the networks written.
    dtype: of the written weights.

  Returns:
    The path of the written file.

  Raises:
    DataError, WeightsError, CheckpointError: one line that names the file.
  """
  settings = setup.settings_from_config(config)
  own = config.joint
  of_joint = joint.JointSettings(
    **{name: own[name] for name in joint.JointSettings.__dataclass_fields__}
  )
  frozen = load_frozen(config)
  modules = setup.build_modules(config, stylegan2.latent_size(frozen.generator))
  networks = setup.build_networks(modules)
  programs = joint.build(networks, settings, of_joint, config.image_size)
  key = jax.random.key(config.seed)
  state = FitState(setup.initial_params(modules, config.image_size, key), None)

  checkpoints = Checkpoints(workdir / 'checkpoints', keep=1)
  total = own.prior_iterations + own.iterations
  done = checkpoints.latest() or 0
  phase = lambda count: 0 if count < own.prior_iterations else 1
  if done:
    state = programs.fresh(state.params, phase(done - 1))
    leaves, structure = jax.tree.flatten(state)
    restored = checkpoints.restore(done, {'state': leaves})
    state = jax.tree.unflatten(structure, restored['state'])
  target = jnp.asarray(
    priors.prior_depth(
      data.elliptic_mask(config.image_size),
      shape=config.prior.shape,
      category=config.prior.category,
      near=config.prior.near,
      far=config.prior.far,
    )
  )
  progress = Progress(total, done=done, label='joint training')
  while done < total:
    if done in (0, own.prior_iterations):
      state = programs.fresh(state.params, phase(done))
    iteration_key = jax.random.fold_in(key, done)
    if phase(done) == 0:
      state, terms = programs.fit_prior(state, target, frozen, iteration_key)
    else:
      state, terms = programs.step(
        state, done - own.prior_iterations, target, frozen, iteration_key
      )
    done += 1
    if progress.due() or done == total:
      value = float(terms['total'])
      if not np.isfinite(value):
        raise WeightsError(f'{workdir}: the loss is not finite at iteration {done}')
      progress.update(done, ('prior fit', 'joint')[phase(done - 1)], value)
    if done % every == 0 or done == total:
      checkpoints.save(done, {'state': jax.tree.leaves(state)})
  progress.close()
  path = workdir / 'networks.safetensors'
  kept = {
    name: jax.tree.map(lambda x: np.asarray(x, dtype), state.params[name]) for name in networks_kept
  }
  save_safetensors(path, kept, {'iterations': str(own.iterations), 'seed': str(config.seed)})
  return path


def main(argv):
  """Trains and tells where the networks are."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown argument {argv[1]!r}: settings are given as --config.NAME=VALUE')
  try:
    path = pretrain(
      _CONFIG.value,
      pathlib.Path(_WORKDIR.value),
      every=_EVERY.value,
      networks_kept=_NETWORKS.value,
      dtype=_DTYPE.value,
    )
  except (CheckpointError, WeightsError, data.DataError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  print(f'networks: {path}')
  return 0


if __name__ == '__main__':
  app.run(main)
