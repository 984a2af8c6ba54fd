"""Random StyleGAN2 networks with the names, shapes and nesting of NVIDIA's two versions."""

import collections

import numpy as np

from tests.support.foreign_files import EasyDict, Module, Network, Tensor

SOURCE = "raise SystemExit('the source text of a pickle was run')"
_BUFFERS = ('noise_const', 'resample_filter', 'w_avg')
_CLASSES = {
  'mapping': 'MappingNetwork',
  'synthesis': 'SynthesisNetwork',
  'conv0': 'SynthesisLayer',
  'conv1': 'SynthesisLayer',
  'torgb': 'ToRGBLayer',
}
_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


class Spec:
  """Sizes of a generator and a discriminator, from 4 up: resolution -> width."""

  def __init__(self, widths, latent=10, depth=3):
    self.widths, self.latent, self.depth, self.sizes = widths, latent, depth, list(widths)


TINY = Spec({4: 8, 8: 7, 16: 6})


def _draw(random, *shape, scale=1.0):
  if np.prod(shape) > 10**5:  # networks of full size: their values are not looked at
    return np.resize(random.standard_normal(4099, np.float32), shape)
  return (scale * random.standard_normal(shape, np.float32)).astype(np.float32)


def torch_generator(spec, seed=0):
  """Names -> arrays of a generator in the PyTorch version."""
  random = np.random.default_rng(seed)
  latent, before = spec.latent, spec.widths[4]
  state = {'mapping.w_avg': _draw(random, latent)}
  for k in range(spec.depth):
    state[f'mapping.fc{k}.weight'] = _draw(random, latent, latent, scale=100)
    state[f'mapping.fc{k}.bias'] = _draw(random, latent, scale=10)

  def layer(name, incoming, outgoing, taps, size=None):
    state[f'{name}.weight'] = _draw(random, outgoing, incoming, taps, taps)
    state[f'{name}.bias'] = _draw(random, outgoing)
    state[f'{name}.affine.weight'] = _draw(random, incoming, latent)
    state[f'{name}.affine.bias'] = 1 + _draw(random, incoming, scale=0.1)
    if size:
      state[f'{name}.noise_const'] = _draw(random, size, size)
      state[f'{name}.noise_strength'] = _draw(random, scale=0.3)
      state[f'{name}.resample_filter'] = _FILTER

  for size, width in spec.widths.items():
    block = f'synthesis.b{size}'
    state[f'{block}.resample_filter'] = _FILTER
    if size == 4:
      state[f'{block}.const'] = _draw(random, width, 4, 4)
    else:
      layer(f'{block}.conv0', before, width, 3, size)
    layer(f'{block}.conv1', width, width, 3, size)
    layer(f'{block}.torgb', width, 3, 1)
    before = width
  return state


def torch_discriminator(spec, seed=1):
  """Names -> arrays of a discriminator in the PyTorch version."""
  random = np.random.default_rng(seed)
  state, sizes = {}, spec.sizes[::-1]

  def layer(name, *shape, bias=True):
    state[f'{name}.weight'] = _draw(random, *shape)
    if bias:
      state[f'{name}.bias'] = _draw(random, shape[0])
    if len(shape) == 4:
      state[f'{name}.resample_filter'] = _FILTER

  for size in sizes[:-1]:
    width, narrower = spec.widths[size // 2], spec.widths[size]
    state[f'b{size}.resample_filter'] = _FILTER
    if size == sizes[0]:
      layer(f'b{size}.fromrgb', narrower, 3, 1, 1)
    layer(f'b{size}.conv0', narrower, narrower, 3, 3)
    layer(f'b{size}.conv1', width, narrower, 3, 3)
    layer(f'b{size}.skip', width, narrower, 1, 1, bias=False)
  width = spec.widths[4]
  layer('b4.conv', width, width + 1, 3, 3)
  layer('b4.fc', width, 16 * width)
  layer('b4.out', 1, width)
  return state


def torch_module(state, class_name, **properties):
  """The nested modules of a state; `properties` are attributes of the whole network."""
  tree: dict = {}
  for name, array in state.items():
    *place, last = name.split('.')
    branch = tree
    for part in place:
      branch = branch.setdefault(part, {})
    branch[last] = array

  def build(branch, name, class_name, attributes):
    groups = {
      key: collections.OrderedDict() for key in ('_parameters', '_buffers', '_backward_hooks')
    }
    modules = collections.OrderedDict()
    for key, value in branch.items():
      if isinstance(value, dict):
        modules[key] = build(value, key, _CLASSES.get(key, 'Layer'), _attributes(name, key, value))
      elif key in _BUFFERS:
        groups['_buffers'][key] = Tensor(value)
      else:
        groups['_parameters'][key] = Tensor(value, parameter=True)
    if name == 'skip':
      groups['_parameters']['bias'] = None
    state = {'training': False, '_non_persistent_buffers_set': set(), **groups}
    state |= {'_modules': modules, '_init_args': (), '_init_kwargs': EasyDict(attributes)}
    return Module(class_name, EasyDict(state | attributes), SOURCE)

  kind = 'resnet' if class_name == 'Discriminator' else 'skip'
  root = {'c_dim': 0, 'z_dim': 10, 'img_resolution': 16, 'kind': kind} | properties
  return build(tree, kind, class_name, root)


def _attributes(parent, name, branch):
  """The attributes of a layer that a reader looks at, and some that it does not."""
  if name.startswith('b') and name[1:].isdigit():
    resnet = parent != 'synthesis'
    return {'architecture': 'resnet' if resnet else 'skip', 'resolution': int(name[1:])}
  if name.startswith('fc') and parent == 'mapping':
    gain = np.float64(0.01) / np.sqrt(len(branch['weight']))
    return {'activation': 'lrelu', 'weight_gain': gain, 'bias_gain': 0.01}
  if name in ('affine', 'out', 'torgb', 'skip', 'mapping', 'synthesis'):
    return {'weight_gain': np.float64(0.5), 'num_ws': 6}
  return {'activation': 'lrelu', 'act_gain': np.sqrt(2), 'conv_clamp': None}


def torch_networks(spec):
  """The dict that the PyTorch version pickles, and the two state dicts in it."""
  generator, critic = torch_generator(spec), torch_discriminator(spec)
  content = {
    'training_set_kwargs': EasyDict(class_name='training.dataset.ImageFolderDataset', xflip=True),
    'G': torch_module(torch_generator(spec, 5), 'Generator'),
    'D': torch_module(critic, 'Discriminator'),
    'G_ema': torch_module(generator, 'Generator'),
    'augment_pipe': None,
  }
  return content, generator, critic


def tensorflow_generator(spec, seed=2):
  """Names -> arrays of a generator in the TensorFlow version, components' names before."""
  random = np.random.default_rng(seed)
  latent, before, number = spec.latent, spec.widths[4], 0
  state = {'lod': np.float32(0), 'dlatent_avg': _draw(random, latent)}
  for k in range(spec.depth):
    state[f'mapping/Dense{k}/weight'] = _draw(random, latent, latent, scale=100)
    state[f'mapping/Dense{k}/bias'] = _draw(random, latent, scale=10)

  def layer(name, incoming, outgoing, taps):
    state[f'{name}/weight'] = _draw(random, taps, taps, incoming, outgoing)
    state[f'{name}/mod_weight'] = _draw(random, latent, incoming)
    state[f'{name}/mod_bias'] = _draw(random, incoming, scale=0.1)
    state[f'{name}/bias'] = _draw(random, outgoing)
    if taps == 3:
      state[f'{name}/noise_strength'] = _draw(random, scale=0.3)

  for size, width in spec.widths.items():
    block = f'synthesis/{size}x{size}'
    if size == 4:
      state[f'{block}/Const/const'] = _draw(random, 1, width, 4, 4)
    else:
      layer(f'{block}/Conv0_up', before, width, 3)
    layer(f'{block}/{"Conv" if size == 4 else "Conv1"}', width, width, 3)
    layer(f'{block}/ToRGB', width, 3, 1)
    for _ in range(1 if size == 4 else 2):
      state[f'synthesis/noise{number}'] = _draw(random, 1, 1, size, size)
      number += 1
    before = width
  return state


def tensorflow_discriminator(spec, seed=3):
  """Names -> arrays of a discriminator in the TensorFlow version."""
  random = np.random.default_rng(seed)
  state, sizes = {}, spec.sizes[::-1]

  def layer(name, *shape, bias=True):
    state[f'{name}/weight'] = _draw(random, *shape)
    if bias:
      state[f'{name}/bias'] = _draw(random, shape[-1])

  for size in sizes[:-1]:
    width, narrower = spec.widths[size // 2], spec.widths[size]
    block = f'{size}x{size}'
    if size == sizes[0]:
      layer(f'{block}/FromRGB', 1, 1, 3, narrower)
    layer(f'{block}/Conv0', 3, 3, narrower, narrower)
    layer(f'{block}/Conv1_down', 3, 3, narrower, width)
    layer(f'{block}/Skip', 1, 1, narrower, width, bias=False)
  width = spec.widths[4]
  layer('4x4/Conv', 3, 3, width + 1, width)
  layer('4x4/Dense0', 16 * width, width)
  layer('Output', width, 1)
  return state


def tensorflow_network(state, name, **arguments):
  """The nested networks of a state; `arguments` are the network's static ones."""
  groups: dict = {'': [], 'mapping': [], 'synthesis': []}
  for key, array in state.items():
    first, _, rest = key.partition('/')
    inner = first in ('mapping', 'synthesis')
    groups[first if inner else ''].append((rest if inner else key, array))

  def build(name, variables, components):
    return Network(
      {
        'version': 4,
        'name': name,
        'static_kwargs': {'num_channels': 3, 'label_size': 0, 'resolution': 16} | arguments,
        'components': components,
        'build_module_src': SOURCE,
        'build_func_name': f'{name}_main',
        'variables': variables,
      }
    )

  components = {key: build(f'G_{key}', groups[key], {}) for key in groups if key and groups[key]}
  return build(name, groups[''], components)


def tensorflow_networks(spec):
  """The tuple that the TensorFlow version pickles, and the generator's and critic's states."""
  generator, critic = tensorflow_generator(spec), tensorflow_discriminator(spec)
  content = (
    tensorflow_network(tensorflow_generator(spec, 7), 'G'),
    tensorflow_network(critic, 'D'),
    tensorflow_network(generator, 'Gs', fmap_base=8192),
  )
  return content, generator, critic
