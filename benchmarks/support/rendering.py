"""The renderer by itself, as a fit uses it: what it costs alone, and what share of step 3."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from benchmarks.support.timing import Effort, Timing, measure
from gan2shape_jax import data, renderer
from gan2shape_jax.reconstruction import autoencoder, priors


def _scene(size):
  """Depth and albedo of an ellipsoid in the middle."""
  depth = jnp.asarray(priors.prior_depth(data.elliptic_mask(size), category='head'))
  return depth, jnp.broadcast_to(jnp.linspace(-0.5, 0.5, size)[:, None, None], (size, size, 3))


def measure_renderer(settings, size: int, effort: Effort) -> dict[str, Timing]:
  """Times the renderer alone: shading, geometry and sampling of a scene in many views.

  Args:
    settings: of the method.
    size: of the images, pixels.
    effort: how many views, and how long to measure.

  Returns:
    'forward' and 'forward and backward', the latter with the gradients of everything.
  """
  depth, albedo = _scene(size)
  yaws = (effort.views + 1) // 2
  views = renderer.turntable_views(40.0, yaws, 20.0, effort.views - yaws)
  code = jnp.array([0.0, 0.0, 0.3, -0.2])
  options = {
    'near': settings.min_depth - settings.depth_margin,
    'far': settings.max_depth + settings.depth_margin,
    'pixel_offset': settings.pixel_offset,
    'supersample': settings.supersample,
    'steps': settings.march_steps or None,
  }

  @jax.jit
  def forward(albedo, depth, code, views):
    light = renderer.light_from_code(code)
    show = lambda view: renderer.render(albedo, depth, light, view, settings.camera, **options)
    return jax.vmap(show)(views)

  def loss(*arrays):
    shown = forward(*arrays)
    return (shown.image**2).mean() + (shown.depth**2).mean()

  backward = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
  arrays = (albedo, depth, code, views)
  return {
    'forward': measure(lambda: forward(*arrays), effort),
    'forward and backward': measure(lambda: backward(*arrays), effort),
  }


def measure_step3_renderer(config: ConfigDict, settings, effort: Effort, *, flip: bool) -> Timing:
  """Times what step 3 renders in an iteration, forward and backward, without networks and losses.

  Args:
    config: a whole configuration.
    settings: of the method.
    effort: how long to measure.
    flip: whether the mirrored shape is rendered too.

  Returns:
    The timing at the batch of projections and the picture itself.
  """
  count = settings.batch_size + 1
  depth, albedo = _scene(config.image_size)
  depths = jnp.stack([depth, autoencoder.mirror(depth)][: 1 + flip])
  albedos = jnp.stack([albedo, autoencoder.mirror(albedo)][: 1 + flip])
  views = renderer.turntable_views(40.0, count, 0.0, 0)
  lights = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.3, -0.2]), (count, 4))

  def loss(depths, albedos, views, lights):
    def one(depth, albedo):
      shapes = jax.vmap(lambda view: autoencoder.geometry(depth, view, settings))(views)
      return jax.vmap(autoencoder.shade_and_sample, (None, 0, 0))(albedo, lights, shapes)

    return (jax.vmap(one)(depths, albedos) ** 2).mean()

  backward = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
  return measure(lambda: backward(depths, albedos, views, lights), effort)
