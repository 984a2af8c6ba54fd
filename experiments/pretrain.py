"""Trains depth, albedo, view and light networks jointly on pictures drawn from the GAN.

  python experiments/pretrain.py --workdir=runs/heads_pretrain

Writes networks.safetensors, from which reconstructions start with
--config.networks.pretrained=runs/heads_pretrain/networks.safetensors. No photograph and no depth is
used: pictures come from the GAN, the shape from probable symmetry, shading and the views' and
lights' prior. The same command continues an interrupted run.
"""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from gan2shape_jax import artefacts
from gan2shape_jax.assembly import load_frozen
from gan2shape_jax.checkpoints import Checkpoints
from gan2shape_jax.models import stylegan2
from gan2shape_jax.progress import Progress
from gan2shape_jax.reconstruction import joint, priors, setup
from gan2shape_jax.reconstruction.state import FitState
from gan2shape_jax.weights import save_safetensors
from gan2shape_jax.workdir import FitError, Preempted, check_workdir

_EVERY = flags.DEFINE_integer('checkpoint_every', 250, 'iterations between checkpoints')
_DTYPE = flags.DEFINE_enum('dtype', 'float16', ['float16', 'float32'], 'of the written weights')


def pretrain(
  config: ConfigDict,
  workdir: pathlib.Path,
  *,
  every: int,
  dtype: str,
  stop: Callable[[], bool] = lambda: False,
) -> pathlib.Path:
  """Runs joint training and writes the networks.

  Args:
    config: a whole configuration; `config.joint` sets the training.
    workdir: folder for checkpoints and result.
    every: iterations between checkpoints.
    dtype: of the written weights.
    stop: tells whether to save and stop.

  Returns:
    The path of the written file.

  Raises:
    ArtefactError, CheckpointError, DataError, FitError, SettingsError, WeightsError: one line that
      names the file or the setting.
    Preempted: `stop` said so; a checkpoint was written.
  """
  setup.check_config(config)
  claim = check_workdir(workdir, config)
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
  state = FitState(setup.initial_params(modules, config.image_size, key, names=joint.TRAINED), None)

  artefacts.write_text(workdir / 'config.json', claim)
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
      joint.box_mask(own.box, config.image_size),
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
    saves = done % every == 0 or done == total or stop()
    if saves or progress.due():
      value = float(terms['total'])
      if not np.isfinite(value):
        raise FitError(f'{workdir}: iteration {done}: the loss is not finite, expected a number')
    if progress.due():
      progress.update(done, ('prior fit', 'joint')[phase(done - 1)], value)
    if saves:
      checkpoints.save(done, {'state': jax.tree.leaves(state)})
    if stop() and done < total:
      raise Preempted(f'{workdir}: stopped by SIGTERM at iteration {done}; saved')
  progress.close()
  path = workdir / 'networks.safetensors'
  kept = {
    name: jax.tree.map(lambda x: np.asarray(x, dtype), state.params[name]) for name in joint.TRAINED
  }
  save_safetensors(path, kept, {'iterations': str(own.iterations), 'seed': str(config.seed)})
  return path


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: trains and tells where the networks are."""
  folder = pathlib.Path(workdir)
  return f'networks: {pretrain(config, folder, every=_EVERY.value, dtype=_DTYPE.value, stop=stop)}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  flags.FLAGS.set_default('workdir', 'runs/heads_pretrain')
  command.launch(work)
