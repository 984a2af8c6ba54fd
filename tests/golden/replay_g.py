"""Replays of the parsing networks at full width and of the masks (fixtures g_*, e_parse_mask).

The weights of `g_*` are not stored: each array is drawn by its name in the state dict. The names
and shapes come from the fixtures' `manifests.json`, of which tests/testdata has a copy.
"""

import json
import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.models import parsing, parsing_networks
from gan2shape_jax.weights.parsing_files import parsing_from_state_dict
from tests.golden import replays

MANIFESTS = pathlib.Path(__file__).parents[1] / 'testdata' / 'manifests.json'


def drawn_state(shapes):
  """The state dict of random weights that the fixtures' README describes."""
  state = {}
  for name, shape in shapes.items():
    if name.endswith('num_batches_tracked'):
      state[name] = np.zeros(shape, np.int64)
      continue
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    n = generator.standard_normal(tuple(shape), dtype=np.float32)
    if name.endswith('running_var'):
      state[name] = np.exp(np.float32(0.2) * n)
    elif name.endswith(('running_mean', 'bias')):
      state[name] = np.float32(0.1) * n
    elif n.ndim == 1:
      state[name] = 1 + np.float32(0.1) * n
    else:
      state[name] = n * np.float32(np.sqrt(2 / np.prod(shape[1:])))
  return state


def drawn_params(network, path):
  """Parameters of one of the manifest's networks, by its name."""
  state = drawn_state(json.loads(MANIFESTS.read_text())[network])
  return parsing_from_state_dict(state, path=path)


@replays('g_*.npz')
def replay_parsing_network(fixture, report):
  params = drawn_params(fixture.path.stem.removeprefix('g_'), fixture.path)
  images = jnp.asarray(fixture['input'].transpose(0, 2, 3, 1))
  logits = np.asarray(jax.jit(parsing_networks.logits_of)(params, images))
  report.check('shape', logits.transpose(0, 3, 1, 2).shape, fixture['shape'], 1e-9)
  at = logits[0, fixture['rows'], fixture['columns']]
  report.check('logits_at', at, fixture['logits_at'], 1e-3)
  report.check_fraction('labels', logits[0].argmax(-1) != fixture['labels'], 1e-2)


@replays('e_parse_mask.npz')
def replay_parse_mask(fixture, report):
  image = jnp.asarray(fixture['image'][0].transpose(1, 2, 0))
  for name in fixture.arrays:
    if not name.startswith('mask_'):
      continue
    category = name.removeprefix('mask_')
    labels = fixture[f'labels_{category}']
    logits = jax.nn.one_hot(labels, parsing.network_of(category).classes)
    mask = parsing.mask_from_logits(category, logits, image.shape[0])
    report.check(name, mask.transpose(2, 0, 1)[None], fixture[name], 1e-5)
    fed = parsing.network_input(category, image)
    assert fed.shape[:2] == labels.shape
    name = f'network_input_every11_{category}'
    report.check(name, fed[::11, ::11].transpose(2, 0, 1)[None], fixture[name], 1e-5)
