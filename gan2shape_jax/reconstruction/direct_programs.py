"""The functions of a run whose steps 1 and 3 fit the factors themselves (`direct`)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax.reconstruction import autoencoder, direct, observation, runaway, step2_projection
from gan2shape_jax.reconstruction.state import FitState, Method, Networks, Projections, Settings


def functions(base, networks: Networks, settings: Settings, sharing) -> dict[str, Any]:
  """The functions of `programs.Programs` that differ where the factors are the unknowns.

  A picture's variables are kept in the parameters under `VARIABLES`, next to the networks. The four
  networks that gave the start stay as they are; the encoder trains in step 2 as usual.

  Args:
    base: the `Programs` of the networks, which give the start.
    networks: apply functions.
    settings: of the method.
    sharing: of the batches of projections.

  Returns:
    A dict of functions by the names of `Programs`.
  """
  places = (settings.fit.collect_iters, settings.batch_size)
  method = functools.partial(Method, networks, settings)
  adam = optax.adam(1.0)  # `direct.step_size` gives each variable its own rate

  def begin(params, instance, prior_depth, frozen):
    if prior_depth is None:
      own = base.factors(params, instance, frozen)
      code = autoencoder.predict_views(method(frozen), params['view'], instance.image[None])[0]
      depth, albedo, light = own.depth, own.albedo, own.light
    else:  # no network has seen anything yet: the prior's shape, in its mean view and light
      depth, code, light = prior_depth, frozen.prior.view_mean, frozen.prior.light_mean
      albedo = instance.image
    return params | direct.start(depth, albedo, code, light, settings, projections=places)

  def fresh(params, step):
    if step == 2:
      return base.fresh(params, step)
    if step == 3:
      params = params | direct.reset(_variables(params))
    return FitState(params, adam.init({name: params[name] for name in direct.TRAINED[step]}))

  def update(state, loss, step, progress, mean=lambda tree: tree):
    trained = {name: state.params[name] for name in direct.TRAINED[step]}
    (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(trained)
    grads, terms = mean((grads, terms))
    updates, inner = adam.update(grads, state.optimizer, trained)
    updates = {
      name: optax.tree.scale(direct.step_size(name, step, progress, settings), of_name)
      for name, of_name in updates.items()
    }
    return FitState(state.params | optax.apply_updates(trained, updates), inner), terms

  def factors(params, instance, frozen):
    del frozen
    return direct.factors(params, instance, settings)

  def observe(params, instance, frozen, flip):
    own = factors(params, instance, frozen)
    return observation.observe_factors(
      method(frozen), own.depth, own.view, own.light, instance, flip=flip
    )

  def step1(state, scene, instance, frozen):
    del frozen
    loss = lambda trained: direct.step1_loss(trained, scene, instance, settings)
    return update(state, loss, 1, 0.0)

  def origin(params, instance, frozen):
    own = factors(params, instance, frozen)
    region = direct.region_of(own.depth, own.view, instance, settings)
    return step2_projection.origin(method(frozen), own._replace(mask=region), instance)

  def own_code(params, origin, frozen):
    del origin, frozen
    return params['own_view']

  def step3(state, instance, projections, frozen, index, progress, flip):
    del flip  # `fit.lam_mirror` says whether the mirrored shape must explain them too
    batch = jax.tree.map(lambda leaf: leaf[index], projections)
    samples = sharing.part(batch[:4])
    batch = Projections(*samples, *batch[4:])
    loss = lambda trained: direct.step3_loss(
      trained, state.params, method(frozen), instance, batch, index, part=sharing.part
    )
    return update(state, loss, 3, progress, sharing.mean)

  def settle(state, instance, frozen):
    away = runaway.runaway(state.params, method(frozen), instance)
    params = state.params | runaway.held(_variables(state.params), away)
    return FitState(params, state.optimizer), {'held': away.astype(jnp.float32)}

  return {
    'begin': begin,
    'fresh': fresh,
    'observe': observe,
    'step1': step1,
    'origin': origin,
    'own_code': own_code,
    'step3': step3,
    'settle': settle,
    'factors': factors,
  }


def _variables(params):
  names = (*direct.VARIABLES, *direct.OFFSETS, direct.BEFORE)
  return {name: params[name] for name in names}
