"""Step 2: pseudo samples of the current shape, projected onto the GAN's images (section 3.2).

The encoder learns latent offsets with which the GAN reproduces a rendering under a random view and
light; the GAN corrects what it cannot show.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax import renderer
from gan2shape_jax.models import stylegan2
from gan2shape_jax.reconstruction import autoencoder, losses, priors
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Array, Factors, Instance, Method, Settings

TRAINED = ('encoder',)


class Draw(NamedTuple):
  """The random part of one pseudo sample.

  Attributes:
    view: [6] view in network units.
    direction: [2] slopes dx, dy of the light.
    strength: [] change k of the diffuse light.
    light: [4] light code drawn from the prior, for `sampling.lights` 'prior'.
  """

  view: jax.Array
  direction: jax.Array
  strength: jax.Array
  light: jax.Array | None = None


class Origin(NamedTuple):
  """What all pseudo samples of a step share.

  Attributes:
    image: [size, size, 3] the picture.
    factors: its factors.
    normals: [size, size, 3] of its depth.
    own_image: [size, size, 3] the GAN's image of the picture's latent.
  """

  image: Array
  factors: Factors
  normals: Array
  own_image: Array


def draw(key, method: Method) -> Draw:
  """Draws view and light of one pseudo sample."""
  settings, prior = method.settings, method.frozen.prior
  (x0, x1), (y0, y1), (k0, k1), _ = settings.random_light
  view_key, x_key, y_key, strength_key = jax.random.split(key, 4)
  view = priors.sample_view(view_key, prior, settings)
  direction = jnp.stack(
    [
      jax.random.uniform(x_key, minval=x0, maxval=x1),
      jax.random.uniform(y_key, minval=y0, maxval=y1),
    ]
  )
  strength = jax.random.uniform(strength_key, minval=k0, maxval=k1)
  if settings.lights == 'range':
    return Draw(view, direction, strength)
  normals = jax.random.normal(jax.random.fold_in(key, 4), (4,))
  return Draw(view, direction, strength, priors.light_from_normals(normals, prior))


def origin(method: Method, factors: Factors, instance: Instance) -> Origin:
  """Prepares what all pseudo samples share."""
  normals = renderer.normals_from_depth(factors.depth, method.settings.camera)
  own_image = gan_images(method.gan, instance.latent[None], instance.image.shape[0])[0]
  return Origin(instance.image, factors, normals, own_image)


def drawn_light(light, drawn: Draw, settings: Settings) -> renderer.Light:
  """The light of a pseudo sample: the picture's, brighter by k, from the direction drawn.

  With `sampling.lights` 'prior' it is one of the prior's: lights as strong as the GAN has them.
  """
  if drawn.light is not None:
    return renderer.light_from_code(drawn.light)
  own = renderer.light_from_code(light)
  direction = renderer.light_direction(drawn.direction[0], drawn.direction[1])
  ambient = own.ambient + settings.random_light.ambient * drawn.strength
  return renderer.Light(ambient, own.diffuse + drawn.strength, direction)


def pseudo_sample(origin: Origin, drawn: Draw, settings: Settings):
  """Renders the current shape under a drawn view and light.

  Args:
    origin: the shape, from `origin`.
    drawn: view and light.
    settings: of the method.

  Returns:
    image [size, size, 3] in [-1, 1] and mask [size, size, 1].
  """
  factors = origin.factors
  view = autoencoder.view_from_code(drawn.view, settings)
  shape = autoencoder.geometry(factors.depth, view, settings)
  light = drawn_light(factors.light, drawn, settings)
  texture = renderer.lambertian(factors.albedo, origin.normals, light)
  image = jnp.clip(renderer.sample_bilinear(texture, shape.grid), -1, 1)
  if settings.fit.factors == 'direct':
    # Only what a latent can show counts: no grey rim, no sheared background.
    return image, shape.valid * renderer.sample_bilinear(factors.mask, shape.grid)
  mask = factors.mask if settings.use_mask else jnp.ones_like(factors.mask)
  return image, renderer.sample_nearest(mask, shape.grid)


def latent_offsets(trained, method: Method, images, origin: Origin):
  """Offsets of w that the encoder finds for pseudo samples.

  Args:
    trained: {'encoder': parameters}.
    method: encoder and generator.
    images: [batch, size, size, 3] pseudo samples.
    origin: holds the GAN's own image, for relative encoding.

  Returns:
    [batch, w_dim].
  """
  networks, settings, generator = method.networks, method.settings, method.frozen.generator
  if settings.relative_encoding:
    codes = networks.encoder(trained['encoder'], jnp.concatenate([images, origin.own_image[None]]))
    codes = codes[:-1] - codes[-1:]
  else:
    codes = networks.encoder(trained['encoder'], images)
  entry = stylegan2.num_modules(generator) - 1 - settings.f1_depth
  zero = jnp.zeros((1, codes.shape[1]), codes.dtype)
  center_hidden = stylegan2.mapping(generator, zero, stop=entry)
  center = stylegan2.mapping(generator, center_hidden, start=entry)
  return stylegan2.mapping(generator, codes + center_hidden, start=entry) - center


def offset_latents(latent, offsets):
  """Latents [batch, ...] of a picture's latent, w or w+, and offsets [batch, w_dim] of w."""
  spread = offsets if latent.ndim == 1 else offsets[:, None]
  return jnp.broadcast_to(latent[None], (len(offsets), *latent.shape)) + spread


def project(trained, method: Method, images, origin: Origin, latent):
  """Projects pseudo samples onto the GAN's images.

  Args:
    trained: {'encoder': parameters}.
    method: encoder and generator.
    images: [batch, size, size, 3] pseudo samples.
    origin: see `latent_offsets`.
    latent: [w_dim] or [layers, w_dim] of the picture.

  Returns:
    images [batch, size, size, 3] and offsets [batch, w_dim].
  """
  offsets = latent_offsets(trained, method, images, origin)
  latents = offset_latents(latent, offsets)
  return gan_images(method.gan, latents, images.shape[1]), offsets


def loss(trained, method: Method, images, masks, origin: Origin, latent):
  """Loss of step 2 as a function of the encoder's parameters, for a batch of pseudo samples.

  Returns:
    The total and a dict of all terms.
  """
  projected, offsets = project(trained, method, images, origin, latent)
  terms = {
    'l1': losses.photometric_loss(projected, images, masks),
    'features': _feature_distance(method, projected, images, masks),
    'latent_norm': jnp.mean(offsets**2),
  }
  lam_regular = method.settings.lam_regular
  terms['total'] = terms['l1'] + terms['features'] + lam_regular * terms['latent_norm']
  return terms['total'], terms


def _feature_distance(method, projected, images, masks):
  """L1 of the discriminator's features; 0 where the GAN came without one."""
  if method.frozen.discriminator is None:
    return jnp.float32(0)
  features = losses.image_features(method, projected)
  targets = losses.image_features(method, images)
  return losses.discriminator_feature_loss(features, targets, masks)


def pseudo_batch(keys, method: Method, origin: Origin):
  """Draws and renders a batch of pseudo samples.

  Args:
    keys: [batch] random keys.
    method: the views' and lights' prior.
    origin: the picture's factors.

  Returns:
    The draws and images [batch, size, size, 3] and masks [batch, size, size, 1], no gradient.
  """
  draws = jax.vmap(lambda k: draw(k, method))(keys)
  images, masks = jax.vmap(lambda d: pseudo_sample(origin, d, method.settings))(draws)
  return draws, jax.lax.stop_gradient(images), jax.lax.stop_gradient(masks)


def drawn_light_code(light, drawn: Draw, settings: Settings):
  """The light of a pseudo sample as a light code [4] (ambient, diffuse, dx, dy)."""
  if drawn.light is not None:
    return drawn.light
  drawn_light_ = drawn_light(light, drawn, settings)
  strengths = jnp.stack([drawn_light_.ambient, drawn_light_.diffuse]) * 2 - 1
  return jnp.concatenate([strengths, drawn.direction])
