"""The object's mask in a picture: given, parsed by a network, or an ellipse where nothing is known.

GAN2Shape (section 3.2) takes masks from frozen parsing networks; a user without their weights still
gets a shape.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import data
from gan2shape_jax.errors import DataError, WeightsError
from gan2shape_jax.models import parsing
from gan2shape_jax.weights import converted, load_parsing

FindMask = Callable[[data.Picture], tuple[np.ndarray, str]]
"""A picture -> its mask [size, size, 1] in [0, 1], and where that is from."""

_PRESENT = 0.7  # the shape prior's box is drawn around what reaches this


def mask_finder(config: ConfigDict) -> FindMask:
  """Makes the function that finds the masks of a run's pictures.

  A mask file of the picture goes first, then `parsing.weights`, then an ellipse in the middle.

  Args:
    config: `parsing.weights`, `prior.category` and `image_size`.

  Returns:
    A `FindMask`. It raises DataError where the network sees no object in the picture.

  Raises:
    WeightsError: the parsing weights are damaged or are not the category's.
  """
  parse = None
  if config.parsing.weights:
    category, path = config.prior.category, config.parsing.weights
    load = functools.partial(load_parsing, path, category=category)
    params = jax.tree.map(jnp.asarray, converted(f'parsing-{category}', [path], load))
    parse = functools.partial(jax.jit(functools.partial(parsing.parse_mask, category)), params)

  def find(picture):
    if picture.mask is not None:
      return picture.mask, 'the mask file'
    if parse is None:
      return (
        data.elliptic_mask(config.image_size),
        'an ellipse in the middle, as neither data.masks nor parsing.weights is given',
      )
    mask = np.asarray(parse(jnp.asarray(picture.image)))
    if mask.max() < _PRESENT:
      raise DataError(
        f'{picture.path}: expected a {config.prior.category} in it, {config.parsing.weights} '
        'sees none; a mask can be given with data.masks'
      )
    return mask, f'{config.parsing.weights}'

  return find


def is_guessed(config: ConfigDict, picture: data.Picture) -> bool:
  """Whether `mask_finder` has nothing but an ellipse for a picture.

  What is fitted to the picture then knows more (`object_masks`).
  """
  return picture.mask is None and not config.parsing.weights


def check_category(config: ConfigDict):
  """Refuses parsing weights for a category that no parsing network knows.

  Raises:
    WeightsError: one line.
  """
  if config.parsing.weights and config.prior.category not in parsing.CATEGORIES:
    raise WeightsError(
      f'parsing.weights={config.parsing.weights}: expected prior.category to be one of '
      f'{", ".join(parsing.CATEGORIES)}, it is {config.prior.category}'
    )
