"""Depth, albedo, views and lights themselves as the unknowns of one picture's fit.

GAN2Shape (section 3.2, step 3) learns a picture's factors through four networks. Their weights are
a slow and stiff way to describe what a few thousand numbers describe directly: from true renderings
of a head at true views, networks gain nothing in 300 iterations, while the factors themselves come
near a supervised network's error (docs/experiments_log.md). The networks give the start.

Maps are sums of enlarged grids of 4, 8, ... pixels up to the picture's own: one Adam step moves
coarse shape as a whole and fine shape pixel by pixel, so that no other preconditioner is needed.
"""

import jax
import jax.numpy as jnp

from gan2shape_jax import renderer
from gan2shape_jax.reconstruction import autoencoder, losses
from gan2shape_jax.reconstruction.region import region_weight
from gan2shape_jax.reconstruction.state import Factors, Instance, Method, Projections, Settings

VARIABLES = ('depth_map', 'albedo_map', 'own_view', 'own_light')
OFFSETS = ('view_offsets', 'light_offsets')
TRAINED = {1: ('albedo_map',), 3: VARIABLES + OFFSETS}
BEFORE = 'before'  # the variables as step 3 found them, to be gone back to

_COARSEST = 4  # pixels of the smallest grid
_LARGEST_UNIT = 0.97  # of tanh, when maps are inverted
_VIEWS_ENTER = 0.05  # part of step 3 in which the views' rate rises to its full size


def pyramid_sizes(size: int) -> tuple[int, ...]:
  """Sides of the grids whose enlarged sum is a map of `size` pixels."""
  sizes = [_COARSEST]
  while sizes[-1] * 2 < size:
    sizes.append(sizes[-1] * 2)
  return (*sizes, size)


def as_pyramid(values) -> tuple:
  """Grids whose sum `from_pyramid` makes a map again: each holds what the coarser ones leave.

  Args:
    values: [size, size] or [size, size, channels].

  Returns:
    A tuple of [n, n, ...] grids, n from 4 to size.
  """
  size, grids, rest = values.shape[0], [], values
  for n in pyramid_sizes(size):
    grid = rest if n == size else jax.image.resize(rest, (n, n, *values.shape[2:]), 'linear')
    grids.append(grid)
    rest = rest - _enlarged(grid, size)
  return tuple(grids)


def from_pyramid(grids):
  """The map [size, size, ...] that the grids sum to; size is the last one's."""
  size = grids[-1].shape[0]
  return sum(_enlarged(grid, size) for grid in grids)


def _enlarged(grid, size):
  return jax.image.resize(grid, (size, size, *grid.shape[2:]), 'linear')


def _unsquashed(values):
  return jnp.arctanh(jnp.clip(values, -_LARGEST_UNIT, _LARGEST_UNIT))


def start(depth, albedo, view_code, light, settings: Settings, *, projections: tuple[int, int]):
  """The variables at given factors.

  Args:
    depth: [size, size] canonical depth.
    albedo: [size, size, 3] in [-1, 1].
    view_code: [6] the picture's view, network units.
    light: [4] its light code.
    settings: range of depths.
    projections: batches and batch size of step 3.

  Returns:
    A dict of `VARIABLES`, `OFFSETS` (all zero) and `BEFORE`.
  """
  middle = (settings.max_depth + settings.min_depth) / 2
  half = (settings.max_depth - settings.min_depth) / 2
  variables = {
    'depth_map': as_pyramid(_unsquashed((depth - middle) / half)),
    'albedo_map': as_pyramid(_unsquashed(albedo)),
    'own_view': view_code,
    'own_light': light,
  }
  return variables | {
    'view_offsets': jnp.zeros((*projections, 6)),
    'light_offsets': jnp.zeros((*projections, 4)),
    BEFORE: variables,
  }


def reset(variables: dict) -> dict:
  """The variables as step 3 begins: no offsets, and a copy of what it can go back to."""
  offsets = {name: jnp.zeros_like(variables[name]) for name in OFFSETS}
  # Copies: a state that is given away must not hold an array twice.
  before = {name: jax.tree.map(jnp.copy, variables[name]) for name in VARIABLES}
  return variables | offsets | {BEFORE: before}


def depth_of(variables, settings: Settings):
  """Canonical depth [size, size], camera units."""
  return autoencoder.depth_from_unit(jnp.tanh(from_pyramid(variables['depth_map'])), settings)


def albedo_of(variables):
  """Canonical albedo [size, size, 3] in [-1, 1]."""
  return jnp.tanh(from_pyramid(variables['albedo_map']))


def bending(depth, *, scale: float = 0.01):
  """Mean squared second differences of a depth map [size, size], in units of `scale`."""
  along_x, along_y = jnp.diff(depth, axis=1), jnp.diff(depth, axis=0)
  xx, xy, yy = jnp.diff(along_x, axis=1), jnp.diff(along_x, axis=0), jnp.diff(along_y, axis=0)
  return sum(jnp.mean((x / scale) ** 2) for x in (xx, xy, xy, yy))


def region_of(depth, view, instance: Instance, settings: Settings):
  """Weight of each canonical pixel [size, size, 1]: where the object is, not what lies behind it.

  The ellipse in `fit.box`, or without one the picture's mask and its mirror image.

  Args:
    depth: [size, size] canonical depth.
    view: [6] of the picture, radians and camera units.
    instance: the picture.
    settings: box and rim under `fit`; the camera.

  Returns:
    Weights in [0, 1], no gradient.
  """
  fit = settings.fit
  if fit.box:
    return region_weight(fit.box, depth.shape[0], rim=fit.rim)
  mask = autoencoder.canonical_mask(instance.mask, depth, view, settings)
  return jax.lax.stop_gradient(jnp.maximum(mask, autoencoder.mirror(mask)))


def step1_loss(trained, scene, instance: Instance, settings: Settings):
  """Loss of step 1 as a function of the albedo: the picture's own pixels, sharply.

  What the picture hides is taken from the mirrored shape, which counts so little that it changes
  nothing where the picture itself is seen.

  Args:
    trained: {'albedo_map': grids}.
    scene: the fixed shape, from `observation.observe_factors`.
    instance: the picture.
    settings: of the method.

  Returns:
    The total and a dict of all terms.
  """
  albedo = albedo_of(trained)
  albedos = jnp.stack([albedo, autoencoder.mirror(albedo)])[: scene.depths.shape[0]]
  sample = jax.vmap(autoencoder.shade_and_sample, (0, None, 0))
  images = sample(albedos, scene.light, scene.shapes)
  # All that is seen, surroundings too: pseudo samples show them.
  each = [
    losses.photometric_loss(image[None], instance.image[None], valid[None])
    for image, valid in zip(images, scene.shapes.valid, strict=True)
  ]
  terms = dict(zip(('l1', 'l1_mirror'), each, strict=False))
  total = each[0] + settings.fit.lam_hidden * sum(each[1:])
  return total, terms | {'total': total}


def step_size(name: str, step: int, progress, settings: Settings):
  """The factor of a variable's Adam step of length 1.

  Args:
    name: of the variable.
    step: 1 or 3.
    progress: [] part of the step that is done, in [0, 1).
    settings: the rates; step 1 keeps its own, step 3 lets them fall by a cosine.

  Returns:
    [] factor.
  """
  fit = settings.fit
  rate = {
    'depth_map': fit.depth_rate,
    'albedo_map': fit.albedo_rate,
    'own_view': fit.own_view_rate,
    'own_light': fit.light_rate,
    'view_offsets': fit.view_rate,
    'light_offsets': fit.light_rate,
  }[name]
  if step == 1:
    return rate
  fall = fit.last_rate + (1 - fit.last_rate) * (1 + jnp.cos(jnp.pi * progress)) / 2
  if 'view' not in name:
    return rate * fall
  # A shape that is not there yet would send the views astray.
  return rate * fall * jnp.clip((progress - fit.hold_views) / _VIEWS_ENTER, 0, 1)


def step3_loss(
  trained,
  variables,
  method: Method,
  instance: Instance,
  samples: Projections,
  offsets_index,
  *,
  part=lambda tree: tree,
):
  """Loss of step 3 as a function of the variables.

  Args:
    trained: the `TRAINED[3]` variables.
    variables: all, for those from before the step.
    method: holds the views' prior.
    instance: the picture.
    samples: one batch of projections, this device's share.
    offsets_index: of the batch, into the offsets.
    part: picks this device's share of the batch's offsets.

  Returns:
    The total and a dict of all terms.
  """
  settings, fit, prior = method.settings, method.settings.fit, method.frozen.prior
  depth, albedo = depth_of(trained, settings), albedo_of(trained)
  view_offsets, light_offsets = part(
    (trained['view_offsets'][offsets_index], trained['light_offsets'][offsets_index])
  )
  codes = jnp.concatenate([samples.views + view_offsets, trained['own_view'][None]])
  lights = jnp.concatenate([samples.lights + light_offsets, trained['own_light'][None]])
  images = jnp.concatenate([samples.images, instance.image[None]])
  own_view = autoencoder.view_from_code(variables[BEFORE]['own_view'], settings)
  region = region_of(depth, own_view, instance, settings)

  # The picture's own mask is known; what a projection shows beside the object is not.
  masks = jnp.concatenate([samples.masks, instance.mask[None]])

  def error(depth, albedo, region, code, light, image, mask):
    shape = autoencoder.geometry(depth, autoencoder.view_from_code(code, settings), settings)
    seen = shape.valid * renderer.sample_bilinear(region, shape.grid) * mask
    made = autoencoder.shade_and_sample(albedo, light, shape)
    # The region moves with the shape: only its pixels' values may pull, not its size.
    weight = 3 * jax.lax.stop_gradient(seen).sum() + 1e-6
    return jnp.sum(jnp.abs(made - image) * seen) / weight

  errors = jax.vmap(error, (None, None, None, 0, 0, 0, 0))(
    depth, albedo, region, codes, lights, images, masks
  )
  terms = {
    'l1': errors[-1],
    'projection_l1': errors[:-1].mean(),
    'smooth': losses.smoothness_loss(depth[None]) / settings.depth_margin,
  }
  total = fit.lam_own * terms['l1'] + terms['projection_l1'] + fit.lam_smooth * terms['smooth']
  if fit.lam_bend:
    # Quadratic, so that a spike costs far more than the ridges of a face; the absolute values above
    # hardly see it.
    terms['bend'] = bending(depth)
    total += fit.lam_bend * terms['bend']
  if fit.lam_mirror:
    flip = autoencoder.mirror
    mirrored = jax.vmap(error, (None, None, None, 0, 0, 0, 0))(
      flip(depth), flip(albedo), flip(region), codes, lights, images, masks
    )
    terms['l1_mirror'] = mirrored[-1]
    terms['projection_l1_mirror'] = mirrored[:-1].mean()
    total += fit.lam_mirror * (fit.lam_own * mirrored[-1] + mirrored[:-1].mean())
  if fit.lam_relief:
    before = depth_of(variables[BEFORE], settings)
    terms['relief'] = losses.relief_distance(depth[None], before)
    total += fit.lam_relief * terms['relief']
  if fit.lam_draw:
    deviation = jnp.sqrt(jnp.diagonal(prior.view_cov)[:5])
    terms['view'] = jnp.mean((view_offsets[:, :5] / deviation[None]) ** 2)
    total += fit.lam_draw * terms['view']
  if fit.lam_own_view:
    deviation = jnp.sqrt(jnp.diagonal(prior.view_cov)[:5])
    moved = trained['own_view'] - variables[BEFORE]['own_view']
    terms['own_view'] = jnp.mean((moved[:5] / deviation) ** 2)
    total += fit.lam_own_view * terms['own_view']
  return total, terms | {'total': total}


def factors(variables, instance: Instance, settings: Settings) -> Factors:
  """The factors that the variables stand for."""
  depth = depth_of(variables, settings)
  view = autoencoder.view_from_code(variables['own_view'], settings)
  mask = autoencoder.canonical_mask(instance.mask, depth, view, settings)
  return Factors(depth, albedo_of(variables), view, variables['own_light'], mask)
