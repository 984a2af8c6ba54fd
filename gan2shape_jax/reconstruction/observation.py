"""The picture as its factors explain it: what steps 1 and 3 and the results share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax import renderer
from gan2shape_jax.reconstruction import autoencoder, losses
from gan2shape_jax.reconstruction.state import Factors, Instance, Method


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


def observe(method: Method, params, instance: Instance, *, flip: bool) -> Scene:
  """Predicts depth, view and light of the picture, and looks at it from there.

  Args:
    method: networks, means of views and lights, weights of the perceptual term.
    params: parameters of the networks.
    instance: the picture.
    flip: whether the mirrored shape is looked at too.

  Returns:
    A `Scene`.
  """
  image = instance.image[None]
  depth = autoencoder.predict_depth(
    method.networks, params['depth'], instance.image, method.settings
  )
  code = autoencoder.predict_views(method, params['view'], image)[0]
  light = autoencoder.predict_lights(method, params['light'], image)[0]
  view = autoencoder.view_from_code(code, method.settings)
  return observe_factors(method, depth, view, light, instance, flip=flip)


def observe_factors(method: Method, depth, view, light, instance: Instance, *, flip) -> Scene:
  """The picture's shape as seen from its own view.

  Args:
    method: weights of the perceptual term.
    depth: [size, size] canonical depth.
    view: [6] radians and camera units.
    light: [4] light code.
    instance: the picture.
    flip: whether the mirrored shape is looked at too.

  Returns:
    A `Scene`.
  """
  image = instance.image[None]
  depths = jnp.stack([depth, autoencoder.mirror(depth)]) if flip else depth[None]
  shapes = jax.vmap(lambda d: autoencoder.geometry(d, view, method.settings))(depths)
  mask = jnp.prod(shapes.valid, axis=0)[None]
  references = losses.perceptual_references(method, image, mask)
  return Scene(depths, shapes, view, light, mask, references)


def picture_terms(method: Method, albedo, scene: Scene, instance: Instance):
  """Losses of the picture's reconstruction, from its shape and from the mirrored one.

  Args:
    method: weights of the terms, of the perceptual one also its network's.
    albedo: [size, size, 3] canonical albedo.
    scene: the shape, from `observe`.
    instance: the picture.

  Returns:
    A dict of [] terms, 'total' among them, and the reconstructions [n, size, size, 3].
  """
  settings, count = method.settings, scene.depths.shape[0]
  albedos = jnp.stack([albedo, autoencoder.mirror(albedo)])[:count]
  sample = jax.vmap(autoencoder.shade_and_sample, (0, None, 0))
  images = sample(albedos, scene.light, scene.shapes)
  target, mask = instance.image[None], scene.mask
  perceptual = losses.perceptual_distance(method, images, target, mask, scene.references)
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


def factors(method: Method, params, instance: Instance) -> Factors:
  """What the networks now see in the picture."""
  scene = observe(method, params, instance, flip=False)
  depth = scene.depths[0]
  albedo = method.networks.albedo(params['albedo'], instance.image[None])[0]
  mask = autoencoder.canonical_mask(instance.mask, depth, scene.view, method.settings)
  return Factors(depth, albedo, scene.view, scene.light, mask)
