"""The picture as its factors explain it: what steps 1 and 3 and the results share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax import renderer
from gan2shape_jax.reconstruction import autoencoder, losses
from gan2shape_jax.reconstruction.state import Factors, Frozen, Instance, Networks, Settings


class Scene(NamedTuple):
  """The picture's shape as seen from its own view; a second entry is the mirrored shape.

  Attributes:
    depths: [n, size, size] canonical depth (n is 2 with the mirror image, else 1).
    shapes: geometry of each, leading axis n.
    view: [6] radians and camera units.
    light: [4] light code.
    mask: [1, size, size, 1] where both the shape and its mirror image are seen.
    references: features of the picture there, for the perceptual term.
  """

  depths: jax.Array
  shapes: autoencoder.Geometry
  view: jax.Array
  light: jax.Array
  mask: jax.Array
  references: list


def observe(networks: Networks, params, instance: Instance, frozen, settings, *, flip) -> Scene:
  """Predicts depth, view and light of the picture, and looks at it from there.

  Args:
    networks: apply functions.
    params: parameters of the networks.
    instance: the picture.
    frozen: holds the means of views and lights, and weights of the perceptual term.
    settings: of the method.
    flip: whether the mirrored shape is looked at too.

  Returns:
    A `Scene`.
  """
  image = instance.image[None]
  depth = autoencoder.predict_depth(networks, params['depth'], instance.image, settings)
  code = autoencoder.predict_views(networks, params['view'], image, frozen, settings)[0]
  light = autoencoder.predict_lights(networks, params['light'], image, frozen, settings)[0]
  view = autoencoder.view_from_code(code, settings)
  return observe_factors(depth, view, light, instance, frozen, settings, flip=flip)


def observe_factors(depth, view, light, instance: Instance, frozen, settings, *, flip) -> Scene:
  """The picture's shape as seen from its own view.

  Args:
    depth: [size, size] canonical depth.
    view: [6] radians and camera units.
    light: [4] light code.
    instance: the picture.
    frozen: weights of the perceptual term.
    settings: of the method.
    flip: whether the mirrored shape is looked at too.

  Returns:
    A `Scene`.
  """
  image = instance.image[None]
  depths = jnp.stack([depth, autoencoder.mirror(depth)]) if flip else depth[None]
  shapes = jax.vmap(lambda d: autoencoder.geometry(d, view, settings))(depths)
  mask = jnp.prod(shapes.valid, axis=0)[None]
  references = losses.perceptual_references(frozen, settings, image, mask)
  return Scene(depths, shapes, view, light, mask, references)


def picture_terms(albedo, scene: Scene, instance: Instance, frozen: Frozen, settings: Settings):
  """Losses of the picture's reconstruction, from its shape and from the mirrored one.

  Args:
    albedo: [size, size, 3] canonical albedo.
    scene: the shape, from `observe`.
    instance: the picture.
    frozen: weights of the perceptual term.
    settings: of the method.

  Returns:
    A dict of [] terms, 'total' among them, and the reconstructions [n, size, size, 3].
  """
  count = scene.depths.shape[0]
  albedos = jnp.stack([albedo, autoencoder.mirror(albedo)])[:count]
  sample = jax.vmap(autoencoder.shade_and_sample, (0, None, 0))
  images = sample(albedos, scene.light, scene.shapes)
  target, mask = instance.image[None], scene.mask
  perceptual = losses.perceptual_distance(frozen, settings, images, target, mask, scene.references)
  terms = {}
  for k, suffix in enumerate(('', '_mirror')[:count]):
    terms[f'l1{suffix}'] = losses.photometric_loss(images[k][None], target, mask)
    terms[f'perceptual{suffix}'] = perceptual[k]
  diffuse = jax.vmap(renderer.diffuse_shading, (0, None))(
    scene.shapes.normals, renderer.light_from_code(scene.light)
  )
  smooth = lambda maps: losses.smoothness_loss(maps, huber=settings.smooth_huber)
  terms['smooth'] = smooth(scene.depths) + smooth(diffuse)
  image_terms = sum(terms[k] for k in terms if k.startswith('l1'))
  perceptual_terms = sum(terms[k] for k in terms if k.startswith('perceptual'))
  terms['total'] = (
    image_terms + settings.lam_perceptual * perceptual_terms + settings.lam_smooth * terms['smooth']
  )
  return terms, images


def factors(networks: Networks, params, instance: Instance, frozen, settings) -> Factors:
  """What the networks now see in the picture."""
  scene = observe(networks, params, instance, frozen, settings, flip=False)
  depth = scene.depths[0]
  albedo = networks.albedo(params['albedo'], instance.image[None])[0]
  mask = autoencoder.canonical_mask(instance.mask, depth, scene.view, settings)
  return Factors(depth, albedo, scene.view, scene.light, mask)
