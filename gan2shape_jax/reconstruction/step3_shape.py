"""Step 3: learn depth, albedo, view and light from the projections (GAN2Shape, section 3.2).

The picture's depth and albedo must explain the picture and, under a view and light predicted for
each projection, all projections.
"""

import jax
import jax.numpy as jnp

from gan2shape_jax.reconstruction import autoencoder, losses, observation
from gan2shape_jax.reconstruction.state import Instance, Method, Projections

TRAINED = ('depth', 'albedo', 'view', 'light')


def projection_terms(method: Method, depth, albedo, samples: Projections, *, flip: bool):
  """Losses of the projections' reconstructions.

  Args:
    method: weights of the perceptual term.
    depth: [size, size] canonical depth of the picture.
    albedo: [size, size, 3] its albedo.
    samples: one batch of projections, leading axis batch, with views and lights as they are told.
    flip: whether the mirrored shape must explain them too.

  Returns:
    A dict of [] terms.
  """
  settings, images = method.settings, samples.images
  views = jax.vmap(lambda code: autoencoder.view_from_code(code, settings))(samples.views)

  def reconstruct(depth, albedo):
    shapes = jax.vmap(lambda view: autoencoder.geometry(depth, view, settings))(views)
    shade = jax.vmap(autoencoder.shade_and_sample, (None, 0, 0))
    return shade(albedo, samples.lights, shapes), shapes.valid

  depths, albedos = depth[None], albedo[None]
  if flip:
    depths = jnp.concatenate([depths, autoencoder.mirror(depth)[None]])
    albedos = jnp.concatenate([albedos, autoencoder.mirror(albedo)[None]])
  reconstructions, valid = jax.vmap(reconstruct)(depths, albedos)
  masks = jnp.prod(valid, axis=0) * samples.masks
  references = losses.perceptual_references(method, images, masks)
  terms = {}
  for k, suffix in enumerate(('', '_mirror')[: len(depths)]):
    terms[f'projection_l1{suffix}'] = losses.photometric_loss(reconstructions[k], images, masks)
    terms[f'projection_perceptual{suffix}'] = losses.perceptual_distance(
      method, reconstructions[k], images, masks, references
    ).mean()
  return terms


def loss(trained, method: Method, instance: Instance, samples: Projections, *, flip: bool):
  """Loss of step 3 as a function of the four networks' parameters.

  Args:
    trained: parameters of depth, albedo, view and light nets.
    method: networks, means of views and lights, weights of the perceptual term.
    instance: the picture.
    samples: one batch of projections, leading axis batch.
    flip: whether the mirrored shape must explain picture and projections too.

  Returns:
    The total and a dict of all terms.
  """
  settings = method.settings
  scene = observation.observe(method, trained, instance, flip=flip)
  albedo = method.networks.albedo(trained['albedo'], instance.image[None])[0]
  terms, _ = observation.picture_terms(method, albedo, scene, instance)

  codes = autoencoder.predict_views(method, trained['view'], samples.images)
  lights = autoencoder.predict_lights(method, trained['light'], samples.images)
  told = samples._replace(views=codes, lights=lights)
  of_projections = projection_terms(method, scene.depths[0], albedo, told, flip=flip)
  for name, value in of_projections.items():
    weight = settings.lam_perceptual if 'perceptual' in name else 1.0
    terms['total'] = terms['total'] + weight * value
  terms |= of_projections
  if settings.lam_view:
    # The draws say how the projections are seen; the picture keeps the view it had before.
    own = autoencoder.predict_views(method, trained['view'], instance.image[None])[0]
    drift = jnp.mean(jnp.abs(own - samples.picture_view))
    terms['view'] = jnp.mean(jnp.abs(codes - samples.views)) + drift
    terms['total'] = terms['total'] + settings.lam_view * terms['view']
  if settings.lam_light:
    terms['light'] = jnp.mean(jnp.abs(lights - samples.lights))
    terms['total'] = terms['total'] + settings.lam_light * terms['light']
  if settings.lam_relief:
    # Where a view is told wrongly, relief would make up for it without end.
    terms['relief'] = losses.relief_distance(scene.depths[:1], samples.picture_depth)
    terms['total'] = terms['total'] + settings.lam_relief * terms['relief']
  return terms['total'], terms
