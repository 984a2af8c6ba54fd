"""Starting networks: an autoencoder of many pictures, with probable symmetry (Unsup3d).

One set of networks explains every picture by a depth and an albedo that are made symmetric (the
mean with their mirror images, which they are pulled to), a view and a light; reconstruction of
single pictures starts from its weights. Three phases, each for what the one before has settled:

  views   the shape is held at the prior: views come out in the amount that its relief asks for
  shared  one shape, the batch's mean, explains all pictures: what a picture has of its own cannot
          yet hide in its shape, so that errors of single views average out
  own     each picture's own shape is let in
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax import renderer
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pretraining import view_terms
from gan2shape_jax.reconstruction import autoencoder, losses
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.region import region_weight
from gan2shape_jax.reconstruction.state import FitState, Gan, Method, Networks, Settings

TRAINED = ('depth', 'albedo', 'view', 'light')


@dataclasses.dataclass(frozen=True)
class PretrainingSettings:
  """Static numbers of the training; explained in `config.py`."""

  batch_size: int
  learning_rate: float
  spread: float
  last_rate: float
  iterations: int
  fixed_shape: int
  shared_shape: int
  ramp: int
  prior_iterations: int
  prior_learning_rate: float
  box: tuple[float, float, float, float]
  lam_view: float
  lam_view_first: float
  lam_light: float
  lam_prior: float
  lam_turn: float
  turn_spread: tuple[float, float]


class PretrainingPrograms(NamedTuple):
  """Jitted functions; the state handed in is consumed (donated).

  Attributes:
    fresh: (params, phase) -> FitState; phase 0 fits the prior, phase 1 trains all four networks.
    fit_prior: (state, target depth, frozen, key, images) -> state, terms.
    step: (state, iteration, target depth, frozen, key, images) -> state, terms; images are a batch
      of pictures, None draws them from the GAN.
  """

  fresh: Callable
  fit_prior: Callable
  step: Callable


def build(
  networks: Networks, settings: Settings, numbers: PretrainingSettings, size: int
) -> PretrainingPrograms:
  """Makes the jitted functions of the training.

  Args:
    networks: apply functions.
    settings: of the method.
    numbers: of the training.
    size: of the pictures, pixels.

  Returns:
    The `PretrainingPrograms`.
  """
  prior_optimizer = optax.adam(numbers.prior_learning_rate)
  rate = optax.cosine_decay_schedule(numbers.learning_rate, numbers.iterations, numbers.last_rate)
  optimizer = optax.chain(
    optax.add_decayed_weights(settings.weight_decay),
    optax.adam(rate, settings.beta1, settings.beta2),
  )
  region = region_weight(numbers.box, size)
  draw = functools.partial(gan_pictures, count=numbers.batch_size, size=size, spread=numbers.spread)

  def fresh(params, phase):
    if phase == 0:
      return FitState(params, prior_optimizer.init(params['depth']))
    return FitState(params, optimizer.init({name: params[name] for name in TRAINED}))

  @functools.partial(jax.jit, donate_argnums=0)
  def fit_prior(state, target, frozen, key, images=None):
    images = draw(key, Gan.of(frozen, settings)) if images is None else images

    def error(params):
      raw = networks.depth(params, images)
      depths = jax.vmap(lambda r: autoencoder.depth_from_raw(r, settings))(raw)
      return jnp.mean((depths - target[None]) ** 2) / settings.depth_margin**2

    value, grads = jax.value_and_grad(error)(state.params['depth'])
    updates, inner = prior_optimizer.update(grads, state.optimizer, state.params['depth'])
    params = state.params | {'depth': optax.apply_updates(state.params['depth'], updates)}
    return FitState(params, inner), {'total': value}

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, iteration, target, frozen, key, images=None):
    if images is None:
      images = draw(jax.random.fold_in(key, 0), Gan.of(frozen, settings))
    trained = {name: state.params[name] for name in TRAINED}
    lam_view = jnp.where(iteration < numbers.fixed_shape, numbers.lam_view_first, numbers.lam_view)
    own = (iteration - numbers.fixed_shape - numbers.shared_shape) / max(numbers.ramp, 1)
    objective = lambda params: loss(
      params,
      Method(networks, settings, frozen),
      images,
      region=region,
      own_shape=jnp.clip(own, 0.0, 1.0),
      prior_depth=target,
      lam_prior=numbers.lam_prior,
      lam_view=lam_view,
      lam_light=numbers.lam_light,
      lam_turn=numbers.lam_turn,
      turn_spread=numbers.turn_spread,
      key=jax.random.fold_in(key, 1),
    )
    (_, terms), grads = jax.value_and_grad(objective, has_aux=True)(trained)
    updates, inner = optimizer.update(grads, state.optimizer, trained)
    freedom = jnp.where(iteration < numbers.fixed_shape, 0.0, 1.0)
    updates['depth'] = jax.tree.map(lambda u: u * freedom, updates['depth'])
    return FitState(state.params | optax.apply_updates(trained, updates), inner), terms

  return PretrainingPrograms(fresh, fit_prior, step)


def gan_pictures(key, gan: Gan, *, count: int, size: int, spread: float):
  """Pictures to train on, drawn from the GAN.

  Args:
    key: random key.
    gan: as the method uses it.
    count: number of pictures.
    size: of the pictures, pixels.
    spread: truncation of the latents drawn; 1 is the GAN's own distribution.

  Returns:
    [count, size, size, 3] in [-1, 1].
  """
  z = jax.random.normal(key, (count, stylegan2.latent_size(gan.generator)))
  latents = stylegan2.mapping(gan.generator, z)
  latents = stylegan2.truncate(latents, gan.mean_latent[None], spread)
  return gan_images(gan, latents, size)


def loss(
  trained,
  method: Method,
  images,
  *,
  region=None,
  own_shape=1.0,
  prior_depth=None,
  lam_prior=0.0,
  lam_view=0.0,
  lam_light=0.0,
  lam_turn=0.0,
  turn_spread=(0.12, 0.3),
  key=None,
):
  """Loss of a batch of pictures as a function of the four networks' parameters.

  Args:
    trained: parameters of depth, albedo, view and light nets.
    method: networks, weights of the perceptual term, Gaussians of views and lights.
    images: [batch, size, size, 3] in [-1, 1].
    region: [size, size, 1] weight of each pixel, or None for all alike.
    own_shape: how much each picture's own shape counts against the batch's mean, 0 to 1.
    prior_depth: [size, size] shape that the relief is pulled to, or None.
    lam_prior: weight of that pull (`losses.relief_distance`).
    lam_view: weight of the views' distance to their prior (`view_terms.view_distance`).
    lam_light: weight of the distance of the lights' moments to theirs.
    lam_turn: weight of the error of known turns (`view_terms.turn_distance`); needs `key`.
    turn_spread: (pitch, yaw) standard deviations of the turns, network units.
    key: random key of the turns.

  Returns:
    The total and a dict of all terms.
  """
  networks, settings, prior = method.networks, method.settings, method.frozen.prior
  raw = networks.depth(trained['depth'], images)
  own_depths = jax.vmap(lambda r: autoencoder.depth_from_raw(r, settings))(raw)
  own_albedos = networks.albedo(trained['albedo'], images)
  mirror = jax.vmap(autoencoder.mirror)
  symmetric = (own_depths + mirror(own_depths)) / 2
  shared = symmetric.mean(0, keepdims=True)
  depths = shared + own_shape * (symmetric - shared)
  albedos = (own_albedos + mirror(own_albedos)) / 2
  codes = autoencoder.predict_views(method, trained['view'], images)
  views = jax.vmap(lambda code: autoencoder.view_from_code(code, settings))(codes)
  lights = autoencoder.predict_lights(method, trained['light'], images)

  def reconstruct(depth, albedo, view, light):
    shape = autoencoder.geometry(depth, view, settings)
    diffuse = renderer.diffuse_shading(shape.normals, renderer.light_from_code(light))
    return autoencoder.shade_and_sample(albedo, light, shape), shape.valid, diffuse

  reconstructions, mask, diffuse = jax.vmap(reconstruct)(depths, albedos, views, lights)
  if region is not None:
    mask = mask * region[None]
  smooth = lambda maps: losses.smoothness_loss(maps, huber=settings.smooth_huber)
  references = losses.perceptual_references(method, images, mask)
  perceptual = losses.perceptual_distance(method, reconstructions, images, mask, references)
  asymmetry = jnp.abs(own_depths - symmetric).mean() / settings.depth_margin
  terms = {
    'l1': losses.photometric_loss(reconstructions, images, mask),
    'perceptual': perceptual.mean(),
    'asymmetry': asymmetry + jnp.abs(own_albedos - albedos).mean(),
    'smooth': smooth(depths) + smooth(diffuse),
    'view': view_terms.view_distance(codes, prior.view_mean, prior.view_cov),
    'light': view_terms.moment_distance(lights, prior.light_mean, prior.light_cov),
  }
  if prior_depth is not None:
    terms['prior'] = losses.relief_distance(depths, prior_depth)
  if key is not None:
    pictures, turns = view_terms.turned_pictures(
      key, images, shared[0], codes, settings, spread=turn_spread
    )
    turned = autoencoder.predict_views(method, trained['view'], pictures)
    terms['turn'] = view_terms.turn_distance(codes, turned, turns, prior.view_cov)
  terms['total'] = (
    terms['l1']
    + terms['asymmetry']
    + lam_prior * terms.get('prior', 0.0)
    + settings.lam_perceptual * terms['perceptual']
    + settings.lam_smooth * terms['smooth']
    + lam_view * terms['view']
    + lam_light * terms['light']
    + lam_turn * terms.get('turn', 0.0)
  )
  return terms['total'], terms
