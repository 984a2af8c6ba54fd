"""The functions of a run over many devices: stacks of pictures, or shares of one picture's samples.

Pictures are independent: each has its own networks and optimiser, so a stack of them needs no
communication. What is not trained is shared: on an accelerator the batches of a device's pictures
pass through the GAN as one.

A single picture on many devices is the published form: every device has all networks, takes its
share of each batch of samples, and gradients are averaged.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan2shape_jax.reconstruction import programs
from gan2shape_jax.reconstruction.programs import ONE_DEVICE, Programs, Sharing
from gan2shape_jax.reconstruction.state import Networks, Settings

AXIS = 'data'

# Leading arguments that belong to a picture; the others are the same for all.
_OWN = {
  'begin': 3,
  'fresh': 1,
  'fit_prior': 3,
  'observe': 2,
  'step1': 3,
  'origin': 2,
  'step2': 4,
  'collect': 4,
  'refine_begin': 4,
  'refine': 1,
  'refined': 3,
  'step3': 3,
  'settle': 2,
  'factors': 2,
}


class Layout(NamedTuple):
  """How pictures lie on devices.

  Attributes:
    mesh: of one axis, `AXIS`.
    per_device: pictures side by side on one device; 1 where samples are split.
    split: 'images', each device has its own pictures; 'samples', all work on one picture.
    form: of a device's pictures: 'vmap', all in one; 'loop', one after the other, which needs less
      memory. On CPUs XLA runs a loop's body many times slower.
  """

  mesh: Mesh
  per_device: int = 1
  split: str = 'images'
  form: str = 'vmap'

  @property
  def pictures(self) -> int:
    """How many pictures a stack holds."""
    return self.per_device * (self.mesh.size if self.split == 'images' else 1)

  def stacked(self, trees):
    """Puts the trees of `pictures` pictures on the devices, as one tree of stacks."""
    spec = PartitionSpec(AXIS) if self.split == 'images' else PartitionSpec()
    sharding = NamedSharding(self.mesh, spec)

    def put(*leaves):
      if jax.dtypes.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
        data = put(*map(jax.random.key_data, leaves))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaves[0]))
      # By numpy: a stack on the devices would be a program to compile for every shape.
      return jax.device_put(np.stack(leaves), sharding)

    return jax.tree.map(put, *trees)

  def shared(self, tree):
    """Puts on every device what all pictures share."""
    # From the host: between devices, it would be a program to compile for every shape.
    return jax.device_put(jax.device_get(tree), NamedSharding(self.mesh, PartitionSpec()))


def make_layout(
  devices, *, per_device: int = 1, split: str = 'images', form: str = 'vmap'
) -> Layout:
  """A layout over devices.

  Args:
    devices: of one kind.
    per_device: pictures side by side on one device.
    split: 'images' or 'samples'.
    form: 'vmap' or 'loop'.

  Returns:
    A `Layout`.
  """
  per_device = per_device if split == 'images' else 1
  return Layout(data_mesh(devices), per_device, split, form)


def data_mesh(devices) -> Mesh:
  """All devices along the one axis `AXIS`."""
  return Mesh(np.asarray(devices), (AXIS,))


def build(networks: Networks, settings: Settings, layout: Layout) -> Programs:
  """The compiled functions over stacks of pictures.

  Args:
    networks: apply functions.
    settings: of the method.
    layout: of the stacks. With split samples the batch size is a multiple of the devices.

  Returns:
    `Programs` whose states, instances, keys and so on have a leading axis of pictures, as have
    their results; frozen weights and numbers of iterations have none. They compute what `jax.vmap`
    of the functions for one picture would, and nothing passes between devices but, where samples
    are split, one reduction an update.

  Raises:
    ValueError: the batch cannot be split.
  """
  mesh, devices = layout.mesh, layout.mesh.size
  if layout.split == 'samples' and settings.batch_size % devices:
    raise ValueError(f'a batch of {settings.batch_size} cannot be split over {devices} devices')
  split = layout.split == 'samples' and devices > 1
  one = programs.functions(networks, settings, _sharing(devices) if split else ONE_DEVICE)
  spec = PartitionSpec(AXIS) if layout.split == 'images' else PartitionSpec()

  def stacked(name) -> Any:
    if getattr(one, name) is None:
      return None

    def run(*arguments, **static):
      own = _OWN[name]
      function = functools.partial(getattr(one, name), **static)
      specs = (spec,) * own + (PartitionSpec(),) * (len(arguments) - own)
      body = lambda *args: each(function, args[:own], args[own:], layout.form)
      return jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=spec, check_vma=False)(
        *arguments
      )

    run.__name__ = name  # by which profiles and compilation logs tell it
    return run

  stacks = programs.compiled(Programs(*(stacked(name) for name in Programs._fields)))
  fresh = jax.jit(stacks.fresh, static_argnames='step')
  return stacks._replace(fresh=lambda params, step: fresh(params, step=step))


def each(function, own, shared, form):
  """Applies a function to each picture of a device.

  Args:
    function: of one picture: (*own, *shared) -> pytree.
    own: arguments with a leading axis of pictures.
    shared: arguments that are the same for all.
    form: see `Layout`.

  Returns:
    What `function` returns, with a leading axis of pictures.
  """
  if jax.tree.leaves(own)[0].shape[0] == 1:
    result = function(*jax.tree.map(lambda leaf: leaf[0], own), *shared)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], result)
  call = lambda own: function(*own, *shared)
  return jax.vmap(call)(own) if form == 'vmap' else jax.lax.map(call, own)


def _sharing(devices: int) -> Sharing:
  """Equal shares of samples in the order of the devices."""

  def part(tree):
    place = jax.lax.axis_index(AXIS)
    return jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:])[place], tree)

  def whole(tree):
    return jax.lax.all_gather(tree, AXIS, tiled=True)

  def mean(tree):
    # As one vector: one reduction, however many arrays there are.
    vector, structured = ravel_pytree(tree)
    return structured(jax.lax.pmean(vector, AXIS))

  return Sharing(part, whole, mean)
