"""A judge of views: a small network that tells how the head in a picture is turned.

It is trained on rendered heads with their true views (experiments/train_view_judge.py) and serves
to measure alone: the method learns from nothing that it says.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import networks
from gan2shape_jax.weights import load_safetensors, save_safetensors
from gan2shape_jax.weights.array_files import compare_names, flatten

ANGLES = ('pitch', 'yaw', 'roll')
UNITS = np.array(
  [7.0, 22.0, 2.5], np.float32
)  # degrees for an output of 1: about the heads' spreads
_BATCH = 64
_LAST_RATE = 0.02  # part of the rate that is left at the end
# What pictures of other makes differ in: gains and offset of the colours, noise.
_GAIN, _OFFSET, _NOISE = 0.15, 0.15, 0.04


class Judge(NamedTuple):
  """A trained network.

  Attributes:
    params: of `networks.Encoder`.
    size: height and width of the pictures that it takes, pixels.
  """

  params: dict
  size: int


class Errors(NamedTuple):
  """How well angles are told, one number each of pitch, yaw and roll.

  Attributes:
    deviation: standard deviation of the error, degrees.
    bias: mean of the error, degrees.
    correlation: with the true angles.
    slope: of the angles told on the true ones.
    r2: part of the variance explained: 1 - mean squared error / variance.
  """

  deviation: np.ndarray
  bias: np.ndarray
  correlation: np.ndarray
  slope: np.ndarray
  r2: np.ndarray


def train(
  images: np.ndarray,
  views: np.ndarray,
  *,
  iterations: int = 3000,
  batch: int = _BATCH,
  width: int = 16,
  rate: float = 2e-3,
  seed: int = 0,
  tell: Callable[[int, float], None] = lambda done, loss: None,
) -> Judge:
  """Trains a judge; every picture is shown mirrored as often as not, in other colours each time.

  Args:
    images: uint8 [n, size, size, 3].
    views: [n, 6] true views, radians and camera units.
    iterations: steps of Adam, whose rate falls by a cosine.
    batch: pictures in each.
    width: channels of the network's first level.
    rate: of learning, at first.
    seed: of the first weights and the order of the pictures.
    tell: called with the iterations done and the loss, which is on the device.

  Returns:
    The judge.
  """
  size = images.shape[1]
  model = _model(width)
  params = model.init(jax.random.key(seed), jnp.zeros((1, size, size, 3)))['params']
  optimizer = optax.adam(optax.cosine_decay_schedule(rate, iterations, _LAST_RATE))
  targets = np.degrees(np.asarray(views, np.float64)[:, :3]).astype(np.float32) / UNITS

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state, images, targets):
    def loss(params):
      told = model.apply({'params': params}, images)
      return optax.huber_loss(told, targets).mean()

    value, grads = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value

  state = optimizer.init(params)
  for k in range(iterations):
    random = np.random.default_rng((seed, k))
    chosen = random.integers(len(images), size=batch)
    mirrored = random.random(batch) < 0.5
    pictures = np.where(mirrored[:, None, None, None], images[chosen][:, :, ::-1], images[chosen])
    wanted = np.where(mirrored[:, None], targets[chosen] * (1, -1, -1), targets[chosen])
    params, state, value = step(params, state, _varied(random, pictures), np.float32(wanted))
    tell(k + 1, value)
  return Judge(jax.device_get(params), size)


def judge_views(judge: Judge, images, *, batch: int = _BATCH) -> np.ndarray:
  """Tells how heads are turned.

  Args:
    judge: a trained network.
    images: [n, size, size, 3], uint8, or floating point in [-1, 1].
    batch: how many are looked at together; the result does not depend on it.

  Returns:
    float64 [n, 3]: pitch, yaw and roll in degrees, as the renderer's.

  Raises:
    ValueError: the pictures are of another size.
  """
  images = np.asarray(images)
  if images.ndim != 4 or images.shape[1:] != (judge.size, judge.size, 3):
    raise ValueError(f'images {images.shape}: expected [n, {judge.size}, {judge.size}, 3]')
  told = []
  for start in range(0, len(images), batch):
    part = images[start : start + batch]
    filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), 0)])
    told.append(np.asarray(_told(judge.params, filled), np.float64)[: len(part)])
  return np.concatenate(told) * UNITS if told else np.zeros((0, 3))


def errors(told: np.ndarray, views: np.ndarray) -> Errors:
  """How well angles are told.

  Args:
    told: [n, 3] of `judge_views`.
    views: [n, 6] true views, radians and camera units.

  Returns:
    `Errors`, [3] each; correlation, slope and r2 are not finite where the true angles are all one.
  """
  true = np.degrees(np.asarray(views, np.float64)[:, :3])
  difference = told - true
  spread, covariance = true.std(0), ((told - told.mean(0)) * (true - true.mean(0))).mean(0)
  with np.errstate(divide='ignore', invalid='ignore'):
    correlation = covariance / (spread * told.std(0))
    slope, r2 = covariance / spread**2, 1 - (difference**2).mean(0) / spread**2
  return Errors(difference.std(0), difference.mean(0), correlation, slope, r2)


def save_judge(path: str | os.PathLike, judge: Judge):
  """Writes a judge as safetensors; raises `WeightsError` where the folder cannot be written."""
  params = judge.params | {'size': np.int32(judge.size)}
  save_safetensors(path, params, {'angles': ', '.join(ANGLES)})


def load_judge(path: str | os.PathLike) -> Judge:
  """Reads what `save_judge` wrote.

  Raises:
    WeightsError: the file is missing, damaged, or holds something else.
  """
  params = load_safetensors(path)
  size = params.pop('size', None)
  first = params.get('down_0', {}) if isinstance(params.get('down_0'), dict) else {}
  if np.shape(size) != () or size is None or 'kernel' not in first:
    raise WeightsError(f'{path}: expected a judge of views (experiments/train_view_judge.py)')
  size = int(size)
  try:
    networks.levels_of(size)
  except ValueError as error:
    raise WeightsError(f'{path}: expected a judge of views: {error}') from None
  make = lambda key: _model(first['kernel'].shape[-1]).init(key, jnp.zeros((1, size, size, 3)))
  expected = jax.eval_shape(make, jax.random.key(0))['params']
  shapes = jax.tree.map(lambda leaf: leaf.shape, expected)
  compare_names(_flat(shapes), {k: v.shape for k, v in flatten(params).items()}, path=path)
  return Judge(params, size)


def _flat(shapes: dict, prefix: str = '') -> dict[str, Sequence[int]]:
  """Shapes by the names that arrays have in a file."""
  flat = {}
  for name, value in shapes.items():
    deeper = isinstance(value, dict)
    flat |= _flat(value, f'{prefix}{name}/') if deeper else {f'{prefix}{name}': value}
  return flat


def _model(width):
  return networks.Encoder(len(ANGLES), width, final_tanh=False)


def _signed(images):
  """Pictures as float32 in [-1, 1]; floating point ones are so already."""
  if jnp.issubdtype(images.dtype, jnp.floating):
    return images.astype(jnp.float32)
  return images.astype(jnp.float32) / 127.5 - 1


@jax.jit
def _told(params, images):
  width = params['down_0']['kernel'].shape[-1]
  return _model(width).apply({'params': params}, _signed(images))


def _varied(random, images):
  """Pictures in other colours and with noise, float32."""
  shape = (len(images), 1, 1, 3)
  gain = 1 + _GAIN * random.standard_normal(shape, np.float32)
  offset = _OFFSET * random.standard_normal(shape, np.float32)
  noise = _NOISE * random.standard_normal(images.shape, np.float32)
  return np.clip((np.float32(images) / 127.5 - 1) * gain + offset + noise, -1, 1)
