"""Joint training of the autoencoder on the GAN's own pictures, with probable symmetry (Unsup3d).

One set of networks explains every picture by a depth and an albedo that are made symmetric (the
mean with their mirror images, which they are pulled to), a view and a light; reconstruction of
single pictures starts from its weights. The shape is held at the prior at first: views learned for
a shape of known relief come out in the right amount, and only then does the shape follow.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax import renderer
from gan2shape_jax.models import stylegan2
from gan2shape_jax.models.resampling import resize
from gan2shape_jax.reconstruction import autoencoder, losses, step2_projection
from gan2shape_jax.reconstruction.state import FitState, Frozen, Networks, Settings

TRAINED = ('depth', 'albedo', 'view', 'light')


@dataclasses.dataclass(frozen=True)
class JointSettings:
  """Static numbers of joint training; explained in `config.py`."""

  batch_size: int
  learning_rate: float
  spread: float
  fixed_shape: int
  ramp: int
  prior_iterations: int
  prior_learning_rate: float
  lam_view: float
  lam_view_first: float
  lam_light: float
  lam_prior: float


class JointPrograms(NamedTuple):
  """Jitted functions; the state handed in is consumed (donated).

  Attributes:
    fresh: (params, phase) -> FitState; phase 0 fits the prior, phase 1 trains jointly.
    fit_prior: (state, target depth, frozen, key) -> state, terms.
    step: (state, iteration, target depth, frozen, key) -> state, terms.
  """

  fresh: callable
  fit_prior: callable
  step: callable


def build(networks: Networks, settings: Settings, joint: JointSettings, size: int) -> JointPrograms:
  """Makes the jitted functions of joint training.

  Args:
    networks: apply functions.
    settings: of the method.
    joint: of the training.
    size: of the pictures, pixels.

  Returns:
    The `JointPrograms`.
  """
  prior_optimizer = optax.adam(joint.prior_learning_rate)
  optimizer = optax.chain(
    optax.add_decayed_weights(settings.weight_decay),
    optax.adam(joint.learning_rate, settings.beta1, settings.beta2),
  )
  draw = functools.partial(
    gan_pictures, settings=settings, count=joint.batch_size, size=size, spread=joint.spread
  )

  def fresh(params, phase):
    if phase == 0:
      return FitState(params, prior_optimizer.init(params['depth']))
    return FitState(params, optimizer.init({name: params[name] for name in TRAINED}))

  @functools.partial(jax.jit, donate_argnums=0)
  def fit_prior(state, target, frozen, key):
    images = draw(key, frozen)

    def error(params):
      raw = networks.depth(params, images)
      depths = jax.vmap(lambda r: autoencoder.depth_from_raw(r, settings))(raw)
      return jnp.mean((depths - target[None]) ** 2) / settings.depth_margin**2

    value, grads = jax.value_and_grad(error)(state.params['depth'])
    updates, inner = prior_optimizer.update(grads, state.optimizer, state.params['depth'])
    params = state.params | {'depth': optax.apply_updates(state.params['depth'], updates)}
    return FitState(params, inner), {'total': value}

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, iteration, target, frozen, key):
    images = draw(key, frozen)
    trained = {name: state.params[name] for name in TRAINED}
    lam_view = jnp.where(iteration < joint.fixed_shape, joint.lam_view_first, joint.lam_view)
    objective = lambda params: loss(
      params,
      networks,
      images,
      frozen,
      settings,
      prior_depth=target,
      lam_prior=joint.lam_prior,
      lam_view=lam_view,
      lam_light=joint.lam_light,
    )
    (_, terms), grads = jax.value_and_grad(objective, has_aux=True)(trained)
    updates, inner = optimizer.update(grads, state.optimizer, trained)
    freedom = jnp.clip((iteration - joint.fixed_shape) / max(joint.ramp, 1), 0.0, 1.0)
    updates['depth'] = jax.tree.map(lambda u: u * freedom, updates['depth'])
    return FitState(state.params | optax.apply_updates(trained, updates), inner), terms

  return JointPrograms(fresh, fit_prior, step)


def gan_pictures(key, frozen: Frozen, settings: Settings, *, count: int, size: int, spread: float):
  """Pictures to train on, drawn from the GAN.

  Args:
    key: random key.
    frozen: holds the generator and its mean latent.
    settings: truncation and crop of the GAN's images.
    count: number of pictures.
    size: of the pictures, pixels.
    spread: truncation of the latents drawn; 1 is the GAN's own distribution.

  Returns:
    [count, size, size, 3] in [-1, 1].
  """
  z = jax.random.normal(key, (count, stylegan2.latent_size(frozen.generator)))
  latents = stylegan2.mapping(frozen.generator, z)
  latents = stylegan2.truncate(latents, frozen.mean_latent[None], spread)
  return step2_projection.gan_images(latents, frozen, settings, size)


def loss(
  trained,
  networks: Networks,
  images,
  frozen: Frozen,
  settings: Settings,
  *,
  prior_depth=None,
  lam_prior=0.0,
  lam_view=0.0,
  lam_light=0.0,
):
  """Loss of a batch of pictures as a function of the four networks' parameters.

  Args:
    trained: parameters of depth, albedo, view and light nets.
    networks: apply functions.
    images: [batch, size, size, 3] in [-1, 1].
    frozen: weights of the perceptual term, Gaussians of views and lights.
    settings: of the method.
    prior_depth: [size, size] shape that the relief is pulled to, or None.
    lam_prior: weight of that pull (`relief_distance`).
    lam_view: weight of the distance of the views' moments to their prior (`moment_distance`).
    lam_light: likewise for the lights.

  Returns:
    The total and a dict of all terms.
  """
  raw = networks.depth(trained['depth'], images)
  own_depths = jax.vmap(lambda r: autoencoder.depth_from_raw(r, settings))(raw)
  own_albedos = networks.albedo(trained['albedo'], images)
  mirror = jax.vmap(autoencoder.mirror)
  depths = (own_depths + mirror(own_depths)) / 2
  albedos = (own_albedos + mirror(own_albedos)) / 2
  codes = autoencoder.predict_views(networks, trained['view'], images, frozen, settings)
  views = jax.vmap(lambda code: autoencoder.view_from_code(code, settings))(codes)
  lights = autoencoder.predict_lights(networks, trained['light'], images, frozen, settings)

  def reconstruct(depth, albedo, view, light):
    shape = autoencoder.geometry(depth, view, settings)
    diffuse = renderer.diffuse_shading(shape.normals, renderer.light_from_code(light))
    return autoencoder.shade_and_sample(albedo, light, shape), shape.valid, diffuse

  reconstructions, mask, diffuse = jax.vmap(reconstruct)(depths, albedos, views, lights)
  smooth = lambda maps: losses.smoothness_loss(maps, huber=settings.smooth_huber)
  perceptual = losses.perceptual_distance(frozen, settings, reconstructions, images, mask)
  asymmetry = jnp.abs(own_depths - depths).mean() / settings.depth_margin
  terms = {
    'l1': losses.photometric_loss(reconstructions, images, mask),
    'perceptual': perceptual.mean(),
    'asymmetry': asymmetry + jnp.abs(own_albedos - albedos).mean(),
    'smooth': smooth(depths) + smooth(diffuse),
    'view': view_distance(codes, frozen.prior.view_mean, frozen.prior.view_cov),
    'light': moment_distance(lights, frozen.prior.light_mean, frozen.prior.light_cov),
  }
  if prior_depth is not None:
    terms['prior'] = relief_distance(depths, prior_depth)
  terms['total'] = (
    terms['l1']
    + terms['asymmetry']
    + lam_prior * terms.get('prior', 0.0)
    + settings.lam_perceptual * terms['perceptual']
    + settings.lam_smooth * terms['smooth']
    + lam_view * terms['view']
    + lam_light * terms['light']
  )
  return terms['total'], terms


def relief_distance(depths, prior_depth, *, cell: int = 8, scale: float = 0.02):
  """How far the coarse relief is from the prior's; finer shape is free.

  Args:
    depths: [batch, size, size] canonical depths.
    prior_depth: [size, size].
    cell: depths are compared as means over cells of so many pixels.
    scale: difference that counts as 1, camera units.

  Returns:
    [] mean squared difference.
  """
  size = prior_depth.shape[0] // cell
  coarse = resize((depths - prior_depth[None])[..., None], size)
  return jnp.mean((coarse / scale) ** 2)


def view_distance(codes, mean, covariance):
  """How far a batch of views is from its prior: the yaw's moments, the others' plain distance.

  Yaw can be told from the picture, so its spread is matched; pitch, roll and shifts are told badly,
  and would be scattered by matching theirs.

  Args:
    codes: [batch, 6] views in network units.
    mean: [6].
    covariance: [6, 6].

  Returns:
    [] distance.
  """
  others = jnp.array([0, 2, 3, 4])
  whitened = (codes - mean[None])[:, others] / jnp.sqrt(jnp.diagonal(covariance))[others][None]
  return moment_distance(codes[:, 1:2], mean[1:2], covariance[1:2, 1:2]) + jnp.mean(whitened**2)


def moment_distance(samples, mean, covariance):
  """How far a batch's means and spreads are from a Gaussian's, in its standard deviations.

  The amounts of rotation and of relief can be traded for each other (the bas-relief ambiguity);
  a known spread of views fixes the relief.

  Args:
    samples: [batch, n].
    mean: [n].
    covariance: [n, n].

  Returns:
    [] mean over dimensions of the squared difference of mean and standard deviation.
  """
  deviation = jnp.sqrt(jnp.diagonal(covariance))
  whitened = (samples - mean[None]) / deviation[None]
  spread = jnp.sqrt(whitened.var(axis=0) + 1e-6)
  return jnp.mean(whitened.mean(axis=0) ** 2 + (spread - 1) ** 2)
