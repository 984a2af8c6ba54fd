"""The compiled functions of a run: each is built once and serves every stage and picture."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax.reconstruction import (
  autoencoder,
  step1_prior,
  step2_projection,
  step3_shape,
)
from gan2shape_jax.reconstruction.state import FitState, Networks, Projections, Settings


class Programs(NamedTuple):
  """Jitted functions over (state, arrays); the state handed in is consumed (donated).

  Attributes:
    fresh: (params, step) -> FitState with a new optimiser for that step's networks.
    fit_prior: (state, image, target depth) -> state, terms; one regression step of the depth net.
    observe: (params, instance, frozen, flip) -> the fixed scene of step 1.
    step1: (state, scene, instance, frozen) -> state, terms.
    source: (params, instance, frozen) -> what the pseudo samples of step 2 share.
    step2: (state, source, latent, frozen, key) -> state, terms.
    collect: (params, source, latent, frozen, key) -> one batch of Projections.
    step3: (state, instance, projections, index, frozen, flip) -> state, terms.
    factors: (params, instance, frozen) -> Factors.
  """

  fresh: callable
  fit_prior: callable
  observe: callable
  step1: callable
  source: callable
  step2: callable
  collect: callable
  step3: callable
  factors: callable


TRAINED = {
  0: ('depth',),
  1: step1_prior.TRAINED,
  2: step2_projection.TRAINED,
  3: step3_shape.TRAINED,
}


def build(networks: Networks, settings: Settings) -> Programs:
  """Makes the jitted functions for given networks and settings.

  Args:
    networks: apply functions.
    settings: of the method.

  Returns:
    The `Programs`.
  """
  # torch's Adam(weight_decay=...): the decay is part of the gradient.
  optimizer = optax.chain(
    optax.add_decayed_weights(settings.weight_decay),
    optax.adam(settings.learning_rate, settings.beta1, settings.beta2),
  )

  def fresh(params, step):
    return FitState(params, optimizer.init({name: params[name] for name in TRAINED[step]}))

  def update(state: FitState, loss, names):
    trained = {name: state.params[name] for name in names}
    (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(trained)
    updates, optimizer_state = optimizer.update(grads, state.optimizer, trained)
    params = state.params | optax.apply_updates(trained, updates)
    return FitState(params, optimizer_state), terms

  @functools.partial(jax.jit, donate_argnums=0)
  def fit_prior(state, image, target):
    def loss(trained):
      depth = autoencoder.predict_depth(networks, trained['depth'], image, settings)
      total = jnp.mean((depth - target) ** 2)
      return total, {'total': total}

    return update(state, loss, TRAINED[0])

  @functools.partial(jax.jit, static_argnames='flip')
  def observe(params, instance, frozen, flip):
    return step1_prior.observe(networks, params, instance, frozen, settings, flip=flip)

  @functools.partial(jax.jit, donate_argnums=0)
  def step1(state, scene, instance, frozen):
    loss = lambda trained: step1_prior.loss(trained, networks, scene, instance, frozen, settings)
    return update(state, loss, TRAINED[1])

  @jax.jit
  def source(params, instance, frozen):
    factors = step1_prior.factors(networks, params, instance, frozen, settings)
    return step2_projection.source(factors, instance, frozen, settings)

  @functools.partial(jax.jit, donate_argnums=0)
  def step2(state, origin, latent, frozen, key):
    _, images, masks = step2_projection.pseudo_batch(key, origin, frozen, settings)
    loss = lambda trained: step2_projection.loss(
      trained, networks, images, masks, origin, latent, frozen, settings
    )
    return update(state, loss, TRAINED[2])

  @jax.jit
  def collect(params, origin, latent, frozen, key):
    draws, images, masks = step2_projection.pseudo_batch(key, origin, frozen, settings)
    projected, _ = step2_projection.project(
      params, networks, images, origin, latent, frozen, settings
    )
    lights = jax.vmap(
      lambda d: step2_projection.drawn_light_code(origin.factors.light, d, settings)
    )(draws)
    own = autoencoder.predict_views(networks, params['view'], origin.image[None], frozen, settings)
    return Projections(projected, masks, draws.view, lights, own[0], origin.factors.depth)

  @functools.partial(jax.jit, donate_argnums=0, static_argnames='flip')
  def step3(state, instance, projections, index, frozen, flip):
    samples = jax.tree.map(lambda x: x[index], projections)
    loss = lambda trained: step3_shape.loss(
      trained, networks, instance, samples, frozen, settings, flip=flip
    )
    return update(state, loss, TRAINED[3])

  @jax.jit
  def factors(params, instance, frozen):
    return step1_prior.factors(networks, params, instance, frozen, settings)

  return Programs(fresh, fit_prior, observe, step1, source, step2, collect, step3, factors)
