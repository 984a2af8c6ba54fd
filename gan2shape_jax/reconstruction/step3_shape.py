"""Step 3: learn depth, albedo, view and light from the projections (GAN2Shape, section 3.2).

The picture's depth and albedo must explain the picture and, under a view and light predicted for
each projection, all projections.
"""

import jax
import jax.numpy as jnp

from gan2shape_jax.reconstruction import autoencoder, losses, observation
from gan2shape_jax.reconstruction.state import Frozen, Instance, Networks, Projections, Settings

TRAINED = ('depth', 'albedo', 'view', 'light')


def projection_terms(depth, albedo, views, lights, images, masks, frozen, settings, *, flip):
  """Losses of the projections' reconstructions.

  Args:
    depth: [size, size] canonical depth of the picture.
    albedo: [size, size, 3] its albedo.
    views: [batch, 6] radians and camera units.
    lights: [batch, 4] light codes.
    images: [batch, size, size, 3] projections.
    masks: [batch, size, size, 1] of the pseudo samples.
    frozen: weights of the perceptual term.
    settings: of the method.
    flip: whether the mirrored shape must explain them too.

  Returns:
    A dict of [] terms.
  """

  def reconstruct(depth, albedo):
    shapes = jax.vmap(lambda view: autoencoder.geometry(depth, view, settings))(views)
    shade = jax.vmap(autoencoder.shade_and_sample, (None, 0, 0))
    return shade(albedo, lights, shapes), shapes.valid

  depths, albedos = depth[None], albedo[None]
  if flip:
    depths = jnp.concatenate([depths, autoencoder.mirror(depth)[None]])
    albedos = jnp.concatenate([albedos, autoencoder.mirror(albedo)[None]])
  reconstructions, valid = jax.vmap(reconstruct)(depths, albedos)
  masks = jnp.prod(valid, axis=0) * masks
  references = losses.perceptual_references(frozen, settings, images, masks)
  terms = {}
  for k, suffix in enumerate(('', '_mirror')[: len(depths)]):
    terms[f'projection_l1{suffix}'] = losses.photometric_loss(reconstructions[k], images, masks)
    terms[f'projection_perceptual{suffix}'] = losses.perceptual_distance(
      frozen, settings, reconstructions[k], images, masks, references
    ).mean()
  return terms


def loss(
  trained,
  networks: Networks,
  instance: Instance,
  samples: Projections,
  frozen: Frozen,
  settings: Settings,
  *,
  flip: bool,
):
  """Loss of step 3 as a function of the four networks' parameters.

  Args:
    trained: parameters of depth, albedo, view and light nets.
    networks: apply functions.
    instance: the picture.
    samples: one batch of projections, leading axis batch.
    frozen: weights of the perceptual term, means of views and lights.
    settings: of the method.
    flip: whether the mirrored shape must explain picture and projections too.

  Returns:
    The total and a dict of all terms.
  """
  scene = observation.observe(networks, trained, instance, frozen, settings, flip=flip)
  albedo = networks.albedo(trained['albedo'], instance.image[None])[0]
  terms, _ = observation.picture_terms(albedo, scene, instance, frozen, settings)

  codes = autoencoder.predict_views(networks, trained['view'], samples.images, frozen, settings)
  views = jax.vmap(lambda code: autoencoder.view_from_code(code, settings))(codes)
  lights = autoencoder.predict_lights(networks, trained['light'], samples.images, frozen, settings)
  of_projections = projection_terms(
    scene.depths[0],
    albedo,
    views,
    lights,
    samples.images,
    samples.masks,
    frozen,
    settings,
    flip=flip,
  )
  for name, value in of_projections.items():
    weight = settings.lam_perceptual if 'perceptual' in name else 1.0
    terms['total'] = terms['total'] + weight * value
  terms |= of_projections
  if settings.lam_view:
    # The draws say how the projections are seen; the picture keeps the view it had before.
    own = autoencoder.predict_views(
      networks, trained['view'], instance.image[None], frozen, settings
    )[0]
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
