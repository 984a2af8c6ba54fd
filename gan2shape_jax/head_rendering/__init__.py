"""Pictures of random parametric heads with their truth, to train a GAN on and to measure with.

  model = head_rendering.load_model()
  maker = head_rendering.HeadMaker(model, head_rendering.Settings(size=64, seed=1))
  maker.make(0)['image']

Needs the extra `pip install 'gan2shape_jax[heads]'`; experiments/render_heads.py is the command.
"""

from gan2shape_jax.head_rendering.folders import write_folder
from gan2shape_jax.head_rendering.parametric_heads import HeadMaker, Settings
from gan2shape_jax.head_rendering.shapes import HeadModel, load_model
from gan2shape_jax.head_rendering.shards import write_shards

__all__ = [
  'HeadMaker',
  'HeadModel',
  'Settings',
  'load_model',
  'write_folder',
  'write_shards',
]
