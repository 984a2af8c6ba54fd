"""The functions of a run: each is built and compiled once and serves every stage and picture."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax.reconstruction import (
  autoencoder,
  direct_programs,
  observation,
  refinement,
  step1_albedo,
  step2_projection,
  step3_shape,
)
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import FitState, Method, Networks, Projections, Settings


class Programs(NamedTuple):
  """Functions over (state, arrays) of one picture, or of a stack (`parallel.build`).

  Compiled, they consume the state handed in (it is donated). A key serves all iterations of a step.

  Attributes:
    begin: (params, instance, prior depth or None, frozen) -> params with what is the picture's
      own (`direct`); or None where networks are all that is trained.
    fresh: (params, step) -> FitState with a new optimiser for what that step trains.
    fit_prior: (state, image, target depth) -> state, terms; one regression step of the depth net.
    observe: (params, instance, frozen, flip) -> the fixed scene of step 1.
    step1: (state, scene, instance, frozen) -> state, terms.
    origin: (params, instance, frozen) -> what the pseudo samples of step 2 share.
    step2: (state, origin, latent, key, frozen, iteration) -> state, terms.
    collect: (params, origin, latent, key, frozen, iteration) -> one batch of Projections.
    refine_begin: (params, origin, latent, key, frozen, iteration) -> a `Refinement` of the batch
      that `collect` makes of the same arguments.
    refine: (refinement, frozen) -> refinement, terms; one step of the batch's latents.
    refined: (projections, refinement, params, frozen) -> the batch with the refined images.
    step3: (state, instance, projections, frozen, index, progress, flip) -> state, terms; progress
      is the part of the step that is done.
    settle: (state, instance, frozen) -> state, terms, after the last iteration of step 3: a fit
      that ran away is put back; or None.
    factors: (params, instance, frozen) -> Factors.
  """

  fresh: Callable
  fit_prior: Callable
  observe: Callable
  step1: Callable
  origin: Callable
  step2: Callable
  collect: Callable
  step3: Callable
  factors: Callable
  refine_begin: Callable
  refine: Callable
  refined: Callable
  begin: Callable | None = None
  settle: Callable | None = None


UPDATES = ('fit_prior', 'step1', 'step2', 'refine', 'step3', 'settle')  # state, ... -> state, terms
FLIPPED = ('observe', 'step3')  # those with the static argument `flip`
SAMPLES = ('images', 'masks', 'views', 'lights')  # the leading fields of Projections, per sample
TRAINED = {
  0: ('depth',),
  1: step1_albedo.TRAINED,
  2: step2_projection.TRAINED,
  3: step3_shape.TRAINED,
}


class Sharing(NamedTuple):
  """How the samples of a batch are shared out among devices; by default there is one.

  Attributes:
    part: (pytree of arrays with a leading sample axis) -> this device's samples.
    whole: the inverse: gathers the samples of all devices.
    mean: (pytree) -> its mean over devices.
  """

  part: Callable = lambda tree: tree
  whole: Callable = lambda tree: tree
  mean: Callable = lambda tree: tree


ONE_DEVICE = Sharing()


def functions(networks: Networks, settings: Settings, sharing: Sharing = ONE_DEVICE) -> Programs:
  """The functions for one picture, not compiled.

  Args:
    networks: apply functions.
    settings: of the method.
    sharing: of the batches of pseudo samples and projections.

  Returns:
    The `Programs`; `flip` and `step` are static.
  """
  method = functools.partial(Method, networks, settings)
  # torch's Adam(weight_decay=...): the decay is part of the gradient.
  optimizer = optax.chain(
    optax.add_decayed_weights(settings.weight_decay),
    optax.adam(settings.learning_rate, settings.beta1, settings.beta2),
  )

  def fresh(params, step):
    return FitState(params, optimizer.init({name: params[name] for name in TRAINED[step]}))

  def update(state: FitState, loss, names, mean=lambda tree: tree):
    trained = {name: state.params[name] for name in names}
    (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(trained)
    grads, terms = mean((grads, terms))
    updates, optimizer_state = optimizer.update(grads, state.optimizer, trained)
    params = state.params | optax.apply_updates(trained, updates)
    return FitState(params, optimizer_state), terms

  def fit_prior(state, image, target):
    def loss(trained):
      depth = autoencoder.predict_depth(networks, trained['depth'], image, settings)
      total = jnp.mean((depth - target) ** 2)
      return total, {'total': total}

    return update(state, loss, TRAINED[0])

  def observe(params, instance, frozen, flip):
    return observation.observe(method(frozen), params, instance, flip=flip)

  def step1(state, scene, instance, frozen):
    loss = lambda trained: step1_albedo.loss(trained, method(frozen), scene, instance)
    return update(state, loss, TRAINED[1])

  def origin(params, instance, frozen):
    return step2_projection.origin(method(frozen), factors(params, instance, frozen), instance)

  def own_code(params, origin, frozen):
    return autoencoder.predict_views(method(frozen), params['view'], origin.image[None])[0]

  def step3(state, instance, projections, frozen, index, progress, flip):
    del progress  # one rate throughout, as published
    batch = jax.tree.map(lambda x: x[index], projections)
    samples = sharing.part(batch[: len(SAMPLES)])
    batch = Projections(*samples, *batch[len(SAMPLES) :])
    loss = lambda trained: step3_shape.loss(trained, method(frozen), instance, batch, flip=flip)
    return update(state, loss, TRAINED[3], sharing.mean)

  def factors(params, instance, frozen):
    return observation.factors(method(frozen), params, instance)

  own: dict[str, Any] = {'origin': origin, 'own_code': own_code, 'factors': factors, 'step3': step3}
  own |= {'begin': None, 'settle': None, 'fresh': fresh, 'observe': observe, 'step1': step1}
  if settings.fit.factors == 'direct':
    own = direct_programs.functions(
      SimpleNamespace(fresh=fresh, factors=factors), networks, settings, sharing
    )
  own_code = own.pop('own_code')

  def pseudo_batch(key, iteration, origin, frozen):
    keys = jax.random.split(jax.random.fold_in(key, iteration), settings.batch_size)
    return step2_projection.pseudo_batch(sharing.part(keys), method(frozen), origin)

  def projection_views(params, images, drawn, frozen):
    # What the GAN shows turns less than what was drawn: where the view network can tell, it says.
    if settings.fit.views == 'drawn':
      return drawn
    return autoencoder.predict_views(method(frozen), params['view'], images)

  def step2(state, origin, latent, key, frozen, iteration):
    _, images, masks = pseudo_batch(key, iteration, origin, frozen)
    loss = lambda trained: step2_projection.loss(
      trained, method(frozen), images, masks, origin, latent
    )
    return update(state, loss, TRAINED[2], sharing.mean)

  def collect(params, origin, latent, key, frozen, iteration):
    draws, images, masks = pseudo_batch(key, iteration, origin, frozen)
    projected, _ = step2_projection.project(params, method(frozen), images, origin, latent)
    lights = jax.vmap(
      lambda d: step2_projection.drawn_light_code(origin.factors.light, d, settings)
    )(draws)
    views = projection_views(params, projected, draws.view, frozen)
    images, masks, views, lights = sharing.whole((projected, masks, views, lights))
    code = own_code(params, origin, frozen)
    return Projections(images, masks, views, lights, code, origin.factors.depth)

  def refine_begin(params, origin, latent, key, frozen, iteration):
    draws, images, masks = pseudo_batch(key, iteration, origin, frozen)
    if settings.fit.refine_start == 'directions':
      own_light = origin.factors.light
      lights = jax.vmap(lambda d: step2_projection.drawn_light_code(own_light, d, settings))(draws)
      code = own_code(params, origin, frozen)
      offsets = refinement.directed_offsets(draws.view, lights, code[None], own_light[None], frozen)
    else:
      offsets = step2_projection.latent_offsets(params, method(frozen), images, origin)
    latents = step2_projection.offset_latents(latent, offsets)
    whole = sharing.whole((latents, images, masks))
    return refinement.begin(method(frozen), *whole)

  def refine(state, frozen):
    return refinement.step(method(frozen), state, part=sharing.part, mean=sharing.mean)

  def refined(projections, state, params, frozen):
    latents = sharing.part(refinement.refined_latents(state, frozen))
    images = gan_images(method(frozen).gan, latents, state.images.shape[1])
    views = projection_views(params, images, sharing.part(projections.views), frozen)
    images, views = sharing.whole((images, views))
    return projections._replace(images=images, views=views)

  return Programs(
    fit_prior=fit_prior,
    step2=step2,
    collect=collect,
    refine_begin=refine_begin,
    refine=refine,
    refined=refined,
    **own,
  )


def build(networks: Networks, settings: Settings) -> Programs:
  """The compiled functions for one picture on one device; arguments as of `functions`."""
  return compiled(functions(networks, settings))


def compiled(programs: Programs) -> Programs:
  """Jits functions; the states given to those that train are donated."""

  def jitted(name):
    function = getattr(programs, name)
    if name == 'fresh' or function is None:
      return function
    static = 'flip' if name in FLIPPED else None
    return jax.jit(function, static_argnames=static, donate_argnums=0 if name in UPDATES else None)

  return Programs(*(jitted(name) for name in Programs._fields))
