"""Views and lights in joint training: their moments, and pictures turned by known angles.

Codes are in network units; the prior's Gaussians are `state.ViewLightPrior`.
"""

import jax
import jax.numpy as jnp

from gan2shape_jax import renderer
from gan2shape_jax.reconstruction import autoencoder
from gan2shape_jax.reconstruction.state import Settings

_LARGEST_YAW = 0.85  # network units; beyond it the shape's far side would be seen
_ROLL_SHIFTS = (0.04, 0.03, 0.03)  # spreads of the turns' roll and shifts, network units


def view_distance(codes, mean, covariance):
  """How far a batch of views is from its prior: the yaw's moments, the others' plain distance.

  Yaw can be predicted from the picture, so its spread is matched; pitch, roll and shifts are
  predicted badly, and matching their spread would scatter them.

  Args:
    codes: [batch, 6] views in network units.
    mean: [6].
    covariance: [6, 6].

  Returns:
    [] distance.
  """
  others = jnp.array([0, 2, 3, 4])
  whitened = (codes - mean[None])[:, others] / jnp.sqrt(jnp.diagonal(covariance))[others][None]
  return moment_distance(codes[:, 1:2], mean[1:2], covariance[1:2, 1:2]) + jnp.mean(whitened**2)


def moment_distance(samples, mean, covariance):
  """How far a batch's means and spreads are from a Gaussian's, in its standard deviations.

  The amounts of rotation and of relief can be traded for each other (the bas-relief ambiguity);
  a known spread of views fixes the relief. A batch's own moments scatter, so a large weight would
  scatter the views.

  Args:
    samples: [batch, n].
    mean: [n].
    covariance: [n, n].

  Returns:
    [] mean over dimensions of the squared difference of mean and standard deviation.
  """
  deviation = jnp.sqrt(jnp.diagonal(covariance))
  whitened = (samples - mean[None]) / deviation[None]
  spread = jnp.sqrt(whitened.var(axis=0) + 1e-6)
  return jnp.mean(whitened.mean(axis=0) ** 2 + (spread - 1) ** 2)


def turned_pictures(key, images, depth, codes, settings: Settings, *, spread):
  """The same pictures as they would look after a known turn, if the shape were right.

  A picture is moved by the shape from its own view to another; what the first view hides is
  smeared. A view network that predicts the turns has the right slope for yaw and pitch, which
  reconstruction alone teaches slowly. These are pseudo samples as in GAN2Shape, section 3.2.2,
  before any projection.

  Args:
    key: random key.
    images: [batch, size, size, 3] in [-1, 1].
    depth: [size, size] canonical depth of all of them.
    codes: [batch, 6] their views.
    settings: camera, ranges of the views.
    spread: (pitch, yaw) standard deviations of the turns, network units.

  Returns:
    [batch, size, size, 3] pictures, and the turns [batch, 6] that lead to them; no gradient passes.
  """
  spread = jnp.array([spread[0], spread[1], *_ROLL_SHIFTS, 0.0])
  turned = codes + jax.random.normal(key, codes.shape) * spread[None]
  turned = turned.at[:, 1].set(jnp.clip(turned[:, 1], -_LARGEST_YAW, _LARGEST_YAW))

  def turn(image, code, other):
    shape = autoencoder.geometry(depth, autoencoder.view_from_code(other, settings), settings)
    own = renderer.forward_grid(
      depth, autoencoder.view_from_code(code, settings), settings.camera
    )  # canonical pixel -> the picture's own pixel
    return renderer.sample_bilinear(image, renderer.sample_bilinear(own, shape.grid))

  pictures = jax.vmap(turn)(images, codes, turned)
  return jax.lax.stop_gradient((pictures, turned - codes))


def turn_distance(codes, turned_codes, turns, covariance):
  """How far predicted yaws differ from the turns made.

  Pitch is left out: trained in the same way, it scatters, as pictures hardly show it.

  Args:
    codes: [batch, 6] views of the pictures.
    turned_codes: [batch, 6] views of the turned ones.
    turns: [batch, 6] from `turned_pictures`.
    covariance: [6, 6] of the prior; errors are measured in its standard deviation.

  Returns:
    [] mean squared error.
  """
  return jnp.mean((turned_codes - codes - turns)[:, 1] ** 2) / covariance[1, 1]
