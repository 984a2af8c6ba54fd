"""Catches a fit of the factors that ran away and puts it back to its state before step 3."""

import jax
import jax.numpy as jnp

from gan2shape_jax import renderer
from gan2shape_jax.reconstruction import autoencoder, direct, losses
from gan2shape_jax.reconstruction.state import Instance, Method

_ERROR_SLACK = 0.1  # mean absolute error on [-1, 1] by which any fit may get worse


def runaway(variables, method: Method, instance: Instance):
  """Whether step 3 made the picture's fit worse, as far as can be seen without the truth.

  Three signs: the picture is explained worse, the relief has grown beyond the prior's, or the
  view has left the range that views are drawn from.

  Args:
    variables: after the step, with those from before it.
    method: bounds under `settings.fit`; the views' prior.
    instance: the picture.

  Returns:
    [] boolean.
  """
  settings, fit, prior = method.settings, method.settings.fit, method.frozen.prior

  def signs(own):
    depth, albedo = direct.depth_of(own, settings), direct.albedo_of(own)
    view = autoencoder.view_from_code(own['own_view'], settings)
    shape = autoencoder.geometry(depth, view, settings)
    region = direct.region_of(depth, view, instance, settings)
    seen = shape.valid * renderer.sample_bilinear(region, shape.grid) * instance.mask
    made = autoencoder.shade_and_sample(albedo, own['own_light'], shape)
    error = losses.photometric_loss(made[None], instance.image[None], seen[None])
    weight = region[..., 0] / region.sum()
    relief = jnp.sqrt(jnp.sum(weight * (depth - jnp.sum(weight * depth)) ** 2))
    spread = jnp.sqrt(jnp.diagonal(prior.view_cov))[:3]
    distance = jnp.abs((own['own_view'] - prior.view_mean)[:3]) / spread
    return error, relief, distance.max()

  error, relief, distance = signs(variables)
  old_error, old_relief, old_distance = signs(variables[direct.BEFORE])
  worse = error > fit.largest_error * old_error + _ERROR_SLACK
  flown = relief > fit.largest_relief * old_relief
  gone = (distance > fit.largest_view) & (distance > old_distance)
  return worse | flown | gone


def held(variables, away):
  """The variables, or those from before step 3.

  Args:
    variables: after the step, with those from before it.
    away: [] boolean, whether to go back; from `runaway`.

  Returns:
    The variables; offsets and what is kept from before stay as they are.
  """
  return variables | {
    name: jax.tree.map(lambda new, old: jnp.where(away, old, new), variables[name], old)
    for name, old in variables[direct.BEFORE].items()
  }
