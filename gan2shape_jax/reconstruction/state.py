"""The data of the algorithm: pytrees of arrays, and its static settings.

All images are channels last in [-1, 1], masks in [0, 1], depths in camera units, views [6] in
radians and camera units. An instance's arrays have no batch axis.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.renderer import Camera

Array = jax.Array | np.ndarray
"""On the device, or on its way to or from there."""


class Instance(NamedTuple):
  """One picture to reconstruct.

  Attributes:
    image: [size, size, 3] in [-1, 1].
    mask: [size, size, 1] in [0, 1], 1 on the object.
    latent: [w_dim] or [layers, w_dim], the GAN's latent (w or w+) of the image.
  """

  image: Array
  mask: Array
  latent: Array


class Factors(NamedTuple):
  """What the networks see in one picture.

  Attributes:
    depth: [size, size] canonical depth.
    albedo: [size, size, 3] canonical albedo in [-1, 1].
    view: [6] radians and camera units: moves the canonical shape into the picture's view.
    light: [4] ambient, diffuse, dx, dy, as the light network gives them (mean added).
    mask: [size, size, 1] the object's mask in the canonical frame.
  """

  depth: Array
  albedo: Array
  view: Array
  light: Array
  mask: Array


class Projections(NamedTuple):
  """Pseudo samples after projection onto the GAN's images, [batches, batch, ...] each.

  Attributes:
    images: [batches, batch, size, size, 3] the GAN's images.
    masks: [batches, batch, size, size, 1] masks of the pseudo samples that led to them.
    views: [batches, batch, 6] views drawn for the pseudo samples, network units.
    lights: [batches, batch, 4] lights drawn: ambient, diffuse, dx, dy, as the light network's.
    picture_view: [batches, 6] the picture's own view at that time, network units.
    picture_depth: [batches, size, size] its canonical depth at that time.
  """

  images: Array
  masks: Array
  views: Array
  lights: Array
  picture_view: Array
  picture_depth: Array


class FitState(NamedTuple):
  """Everything that training changes.

  Attributes:
    params: the five networks' parameters: depth, albedo, view, light, encoder.
    optimizer: optax state of the networks that the current step trains.
  """

  params: dict[str, Any]
  optimizer: Any


class ViewLightPrior(NamedTuple):
  """Gaussians of views and lights, in network units.

  Attributes:
    view_mean: [6].
    view_cov: [6, 6].
    light_mean: [4].
    light_cov: [4, 4].
  """

  view_mean: Array
  view_cov: Array
  light_mean: Array
  light_cov: Array


class Networks(NamedTuple):
  """Apply functions (params, images [batch, size, size, 3]) -> raw outputs.

  Attributes:
    depth: -> [batch, size, size] unbounded.
    albedo: -> [batch, size, size, 3] in [-1, 1].
    view: -> [batch, 6] in [-1, 1].
    light: -> [batch, 4] in [-1, 1].
    encoder: -> [batch, w_dim].
  """

  depth: Callable
  albedo: Callable
  view: Callable
  light: Callable
  encoder: Callable


class Frozen(NamedTuple):
  """Parameters that are not trained; passed as arguments, so that they are not compiled in.

  Attributes:
    generator: StyleGAN2 generator.
    discriminator: StyleGAN2 discriminator.
    perceptual: VGG16 and LPIPS heads, or None.
    mean_latent: [w_dim] centre of truncation.
    prior: a `ViewLightPrior`, or None where neither views nor lights are looked at.
    latent_basis: [w_dim, n] principal directions of w, each as long as w's standard deviation along
      it, in which latents are refined; or None.
    latent_directions: [9, w_dim] how w changes with a view's rotation and shifts (5, network units)
      and a light's code (4) as the starting networks predict them; or None.
  """

  generator: Any
  discriminator: Any
  perceptual: Any
  mean_latent: Array
  prior: Any
  latent_basis: Any = None
  latent_directions: Any = None


def in_precision(values, precision: str):
  """Values as the networks that nothing trains take them: their type is that of the computation.

  The other networks and all losses stay in the type of the pictures.
  """
  return values.astype(jnp.bfloat16) if precision == 'bf16' else values


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('generator', 'mean_latent'),
  meta_fields=('truncation', 'crop', 'origin_size', 'precision'),
)
@dataclasses.dataclass(frozen=True)
class Gan:
  """The GAN and how its images become pictures; programs take its weights as arguments.

  Attributes:
    generator: StyleGAN2 generator.
    mean_latent: [w_dim] centre of truncation.
    truncation: images are made of mean + truncation * (w - mean).
    crop: centre crop of the images, pixels; 0 for none.
    origin_size: the size that they are brought to before the crop; 0 is the pictures'.
    precision: of the computation, 'float32' or 'bf16'.
  """

  generator: Any
  mean_latent: Array
  truncation: float
  crop: int
  origin_size: int
  precision: str

  @classmethod
  def of(cls, frozen: Frozen, settings: 'Settings') -> 'Gan':
    """The GAN as the method uses it."""
    of = settings
    return cls(
      frozen.generator, frozen.mean_latent, of.truncation, of.crop, of.origin_size, of.precision
    )

  def exact(self) -> 'Gan':
    """The same GAN, computed in float32 whatever the method's precision."""
    return dataclasses.replace(self, precision='float32')


@dataclasses.dataclass(frozen=True)
class FitSettings:
  """Static numbers of the fit by the factors themselves; explained in `config.py` under `fit`."""

  factors: str = 'networks'
  box: tuple[float, ...] = ()
  rim: float = 1.05
  depth_rate: float = 1e-2
  albedo_rate: float = 2e-2
  view_rate: float = 1e-2
  light_rate: float = 1e-2
  own_view_rate: float = 5e-3
  last_rate: float = 0.1
  hold_views: float = 0.3
  lam_own: float = 0.1
  lam_smooth: float = 0.05
  lam_bend: float = 0.05
  lam_mirror: float = 0.0
  lam_relief: float = 0.0
  lam_draw: float = 0.02
  lam_own_view: float = 0.0
  lam_hidden: float = 0.1
  views: str = 'drawn'
  refine_start: str = 'encoder'
  refine_rate: float = 0.06
  lam_latent: float = 0.1
  collect_iters: int = 100
  largest_error: float = 1.5
  largest_relief: float = 2.0
  largest_view: float = 3.5


class RandomLight(NamedTuple):
  """The lights of pseudo samples (paper, appendix: relative to the picture's own light).

  Attributes:
    x: (lowest, highest) slope of its direction to the right.
    y: (lowest, highest) slope of its direction downwards.
    strength: (lowest, highest) change k of the diffuse light.
    ambient: change of the ambient light for one unit of k.
  """

  x: tuple[float, float] = (-1.0, 1.0)
  y: tuple[float, float] = (-0.2, 0.8)
  strength: tuple[float, float] = (-0.1, 0.6)
  ambient: float = -0.6


_LIGHT = RandomLight()


@dataclasses.dataclass(frozen=True)
class Settings:
  """Static numbers of the method; the names and defaults are explained in `config.py`."""

  camera: Camera = dataclasses.field(default_factory=Camera)
  min_depth: float = 0.9
  max_depth: float = 1.1
  border_depth: float = 1.04
  border_weight: float = 1.0
  rotation_range: float = 60.0
  xy_translation_range: float = 0.1
  z_translation_range: float = 0.0
  add_mean_view: bool = True
  add_mean_light: bool = True
  pixel_offset: float = 0.0
  supersample: int = 1
  march_steps: int = 0
  precision: str = 'float32'
  perceptual: str = 'discriminator'
  lam_perceptual: float = 0.5
  lam_smooth: float = 0.01
  lam_regular: float = 0.01
  lam_view: float = 0.0
  lam_light: float = 0.0
  lam_relief: float = 0.0
  smooth_huber: float = 0.0
  discriminator_features: int = 4
  view_scale: float = 1.0
  scale_mean_yaw: bool = False
  random_light: RandomLight = _LIGHT
  lights: str = 'range'
  relative_encoding: bool = True
  use_mask: bool = False
  f1_depth: int = 2
  truncation: float = 1.0
  crop: int = 0
  origin_size: int = 0
  batch_size: int = 16
  learning_rate: float = 1e-4
  beta1: float = 0.9
  beta2: float = 0.999
  weight_decay: float = 5e-4
  fit: FitSettings = dataclasses.field(default_factory=FitSettings)

  @property
  def depth_margin(self) -> float:
    """Views clamp depth to the canonical range widened by this much on both sides."""
    return (self.max_depth - self.min_depth) / 2


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('frozen',),
  meta_fields=('networks', 'settings'),
)
@dataclasses.dataclass(frozen=True)
class Method:
  """What the method is given beside pictures and what it trains.

  Programs are made for networks and settings; the frozen weights are arguments of theirs.

  Attributes:
    networks: apply functions.
    settings: static numbers.
    frozen: parameters that nothing trains.
  """

  networks: Networks
  settings: Settings
  frozen: Frozen

  @property
  def gan(self) -> Gan:
    """The GAN as the method uses it."""
    return Gan.of(self.frozen, self.settings)
