"""Step 1: fit the albedo to the picture, with the shape held fixed (GAN2Shape, section 3.2).

Only the albedo net trains, so depth, view, light, the warp and the picture's perceptual features
(`observation.observe`) are computed once for the whole step.
"""

from gan2shape_jax.reconstruction.observation import Scene, picture_terms
from gan2shape_jax.reconstruction.state import Instance, Networks

TRAINED = ('albedo',)


def loss(trained, networks: Networks, scene: Scene, instance: Instance, frozen, settings):
  """Loss of step 1 as a function of the albedo net's parameters.

  Args:
    trained: {'albedo': parameters}.
    networks: apply functions.
    scene: the fixed shape.
    instance: the picture.
    frozen: weights of the perceptual term.
    settings: of the method.

  Returns:
    The total and a dict of all terms.
  """
  albedo = networks.albedo(trained['albedo'], instance.image[None])[0]
  terms, _ = picture_terms(albedo, scene, instance, frozen, settings)
  return terms['total'], terms
