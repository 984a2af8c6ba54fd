"""The losses and regularisers of StyleGAN2; scores are [B, 1], the larger the more real.

Sources:
  Goodfellow et al., Generative Adversarial Nets, 2014 (the non-saturating logistic loss);
  Mescheder et al., Which Training Methods for GANs do actually Converge?, ICML 2018 (R1);
  Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020 (path length).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def generator_loss(fake_scores: jax.Array) -> jax.Array:
  """The mean of -log sigmoid(score): how far made images are from being taken for real ones."""
  return jax.nn.softplus(-fake_scores).mean()


def discriminator_loss(real_scores: jax.Array, fake_scores: jax.Array) -> jax.Array:
  """The mean of -log sigmoid(real) - log(1 - sigmoid(fake))."""
  return jax.nn.softplus(-real_scores).mean() + jax.nn.softplus(fake_scores).mean()


def scores_and_r1(score: Callable, images: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Scores of real images and how steep they are there.

  Args:
    score: images [B, H, W, 3] -> scores [B, 1].
    images: real ones.

  Returns:
    The scores [B, 1], and the mean over the images of the squared norm of the gradient of the sum
    of scores.
  """
  scores, pull = jax.vjp(score, images)
  (gradient,) = pull(jnp.ones_like(scores))
  return scores, jnp.square(gradient).sum((1, 2, 3)).mean()


def path_lengths(synthesize: Callable, latents: jax.Array, directions: jax.Array) -> jax.Array:
  """How far images move with their latents, along random directions in image space.

  Args:
    synthesize: latents [B, layers, w_dim] -> images [B, H, W, 3].
    latents: [B, layers, w_dim].
    directions: [B, H, W, 3] standard normal.

  Returns:
    [B] the norm of the projected Jacobian, of the root mean square over layers.
  """
  images, pull = jax.vjp(synthesize, latents)
  height, width = images.shape[1:3]
  (gradient,) = pull(directions / jnp.sqrt(jnp.float32(height * width)))
  return jnp.sqrt(jnp.square(gradient).sum(-1).mean(-1))


def path_penalty(
  lengths: jax.Array, mean: jax.Array, decay: float, average: Callable = lambda value: value
) -> tuple[jax.Array, jax.Array]:
  """The variance of path lengths about their running mean.

  Args:
    lengths: [B].
    mean: the running mean so far.
    decay: the part of the batch's mean in the new one.
    average: over devices.

  Returns:
    The penalty of this device's lengths, and the new running mean, which the penalty sees.
  """
  mean = mean + decay * (average(lengths.mean()) - mean)
  return jnp.square(lengths - mean).mean(), mean
