"""Object masks from frozen parsing networks: which network, classes, sizes and inputs.

Faces are parsed by BiSeNet into 19 classes, other objects by PSPNet into the 21 classes of PASCAL
VOC or the 150 of ADE20K. Images are `[size, size, 3]`, RGB in [-1, 1], channels last; a mask is
`[size, size, 1]` in [0, 1], soft at edges where the image is smaller than the network's input.

Source: GAN2Shape (arXiv:2011.00844), appendix.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.models import parsing_networks, resampling

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per colour, of images in [0, 1]."""


class Network(NamedTuple):
  """A parsing network.

  Attributes:
    kind: 'bisenet' or 'pspnet'.
    classes: number of classes that it distinguishes.
    size: height and width of its input.
  """

  kind: str
  classes: int
  size: int


_FACE = Network('bisenet', 19, 512)
_VOC = Network('pspnet', 21, 473)
_ADE20K = Network('pspnet', 150, 473)


class _Rule(NamedTuple):
  """How a category's mask is made: the mean of the masks of some sets of classes."""

  network: Network
  class_sets: tuple[tuple[int, ...], ...]
  normalized: bool = False


# In the face parser 0 is the background, 1..13 are skin and features, 14 the neck, 15 the necklace,
# 16 the clothes, 17 hair and 18 a hat. That `face` means two masks makes hair and neck weigh half.
# Of the VOC categories the original normalises the inputs of car and cat, and not of horse.
_RULES = {
  'face': _Rule(_FACE, (tuple(k for k in range(19) if k not in (0, 16)), tuple(range(1, 14)))),
  'synface': _Rule(_FACE, (tuple(range(1, 15)),)),
  'car': _Rule(_VOC, ((7,),), normalized=True),
  'cat': _Rule(_VOC, ((8,),), normalized=True),
  'horse': _Rule(_VOC, ((13,),)),
  'church': _Rule(_ADE20K, ((1,),)),
}

CATEGORIES = tuple(_RULES)
"""The categories that have a mask rule."""


def network_of(category: str) -> Network:
  """The network that parses a category's images.

  Raises:
    ValueError: no rule is known for the category.
  """
  return _rule_of(category).network


def parse_mask(category: str, params, image) -> jax.Array:
  """The mask of the object in an image.

  Pure, for one image; for many, `jax.jit(functools.partial(parse_mask, category))`.

  Args:
    category: one of `CATEGORIES`.
    params: parameters of the category's network, of as many classes as `network_of` says.
    image: `[size, size, 3]` in [-1, 1].

  Returns:
    `[size, size, 1]`, 1 on the object; all zero where no pixel shows one.

  Raises:
    ValueError: the category is unknown, its network is another one, or the image's shape does not
      fit.
  """
  wanted = network_of(category)
  found = parsing_networks.kind_of(params), parsing_networks.num_classes(params)
  if found != wanted[:2]:
    raise ValueError(
      f'{category} is parsed by {wanted.kind} of {wanted.classes} classes, '
      f'not by {found[0]} of {found[1]}'
    )
  if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3:
    raise ValueError(f'an image must be [size, size, 3], not {image.shape}')
  logits = parsing_networks.logits_of(params, network_input(category, image)[None])[0]
  return mask_from_logits(category, logits, image.shape[0])


def network_input(category: str, image) -> jax.Array:
  """The input of a category's network.

  Args:
    category: one of `CATEGORIES`.
    image: `[H, W, 3]` in [-1, 1].

  Returns:
    `[S, S, 3]`, S the network's input size; normalised as ImageNet's images are where the original
    does that, otherwise still in [-1, 1].
  """
  rule = _rule_of(category)
  image = resampling.resize(jnp.asarray(image), rule.network.size)
  if not rule.normalized:
    return image
  mean = jnp.asarray(IMAGENET_MEAN, image.dtype)[None, None]
  std = jnp.asarray(IMAGENET_STD, image.dtype)[None, None]
  return (image / 2 + 0.5 - mean) / std


def mask_from_logits(category: str, logits, size: int) -> jax.Array:
  """A category's mask from its network's output.

  Args:
    category: one of `CATEGORIES`.
    logits: `[S, S, classes]`; each pixel belongs to its largest class.
    size: height and width of the mask.

  Returns:
    `[size, size, 1]`.
  """
  classes = network_of(category).classes
  if logits.shape[-1] != classes:
    raise ValueError(f'{category} needs {classes} classes, not {logits.shape[-1]}')
  return mask_from_labels(category, jnp.argmax(logits, -1), size)


def mask_from_labels(category: str, labels, size: int) -> jax.Array:
  """A category's mask from the class of each pixel.

  Args:
    category: one of `CATEGORIES`.
    labels: integers `[S, S]`.
    size: height and width of the mask.

  Returns:
    `[size, size, 1]`: the weight of each pixel's class, averaged over the area of a mask pixel.
  """
  rule = _rule_of(category)
  weights = np.zeros(rule.network.classes, np.float32)
  for classes in rule.class_sets:
    weights[list(classes)] += 1 / len(rule.class_sets)
  return resampling.resize(jnp.asarray(weights)[labels][..., None], size)


def _rule_of(category):
  if category not in _RULES:
    known = ', '.join(CATEGORIES)
    raise ValueError(f'no mask rule for the category {category!r}; known are {known}')
  return _RULES[category]
