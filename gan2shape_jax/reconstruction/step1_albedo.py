"""Step 1: fit the albedo to the picture, with the shape held fixed (GAN2Shape, section 3.2).

Only the albedo net trains, so depth, view, light, the warp and the picture's perceptual features
(`observation.observe`) are computed once for the whole step.
"""

from gan2shape_jax.reconstruction.observation import Scene, picture_terms
from gan2shape_jax.reconstruction.state import Instance, Method

TRAINED = ('albedo',)


def loss(trained, method: Method, scene: Scene, instance: Instance):
  """Loss of step 1 as a function of the albedo net's parameters.

  Args:
    trained: {'albedo': parameters}.
    method: networks, weights of the terms.
    scene: the fixed shape.
    instance: the picture.

  Returns:
    The total and a dict of all terms.
  """
  albedo = method.networks.albedo(trained['albedo'], instance.image[None])[0]
  terms, _ = picture_terms(method, albedo, scene, instance)
  return terms['total'], terms
