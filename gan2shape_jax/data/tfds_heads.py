"""Packs a folder of pictures into `gan2shape_heads`, a data set of TensorFlow Datasets (TFDS).

  from gan2shape_jax.data import tfds_heads  # needs the extra: pip install 'gan2shape_jax[tfds]'

  tfds_heads.build('heads/dev', '~/tensorflow_datasets')
  tfds.data_source('gan2shape_heads', split='train', data_dir='~/tensorflow_datasets')

The folder is a data set as `data.pictures` describes it: image/, and where they exist mask/,
head_mask/, depth/ and latents.npz. Each record has the feature `name`, the picture's name, and
`image`, `mask`, `head_mask`, `depth` (the files' bytes, unchanged) and `w` as far as the folder has
them. Nobody needs this module to read it: TFDS restores the features from their description.

What needs TensorFlow (found with TFDS 4.9.10):
  writing here                  no: features are given as encoded bytes, and the examples keep their
                                order. TFDS would encode arrays, and sort more than it holds in
                                memory, with TensorFlow.
  tfds.data_source, reading     no. TFDS decodes 16-bit depth with OpenCV (opencv-python) only;
                                `data.tfds_source` decodes it by itself.
  tfds.load, tf.data            yes, and neither reads array_record at all.
"""

import os
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from gan2shape_jax.config import get_default_config
from gan2shape_jax.data.pictures import Pictures, load_pictures
from gan2shape_jax.errors import DataError

NAME = 'gan2shape_heads'

_FORMATS = ('PNG', 'JPEG')  # what all readers of TFDS decode
_KINDS = {'image': 'image', 'mask': 'mask', 'region': 'head_mask', 'depth': 'depth'}
_MODES = {'RGB': (3, np.uint8), 'L': (1, np.uint8), 'I;16': (1, np.uint16)}
_ALLOWED = {'image': ('RGB',), 'mask': ('L',), 'region': ('L',), 'depth': ('L', 'I;16')}
_DOCS = {
  'image': 'the picture',
  'mask': 'white on the object',
  'region': 'white where metrics are taken',
  'depth': 'true depth in the view of the picture: 1.1 - 0.2 v / (2^bits - 1), 0 the background',
}


class Gan2shapeHeads(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The builder; unregistered, as its features are those of the folder that it packs."""

  name = NAME
  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First.'}  # noqa: RUF012, as TFDS declares it

  def __init__(self, *, pictures: Pictures, **options):
    self._entries = [pictures.sources(k) for k in range(len(pictures))]
    self._modes = {kind: _common_mode(kind, self._entries) for kind in _KINDS}
    super().__init__(**options)

  def _info(self):
    features = {'name': tfds.features.Text(doc='the name of the picture')}
    for kind, mode in self._modes.items():
      if mode:
        channels, dtype = _MODES[mode]
        features[_KINDS[kind]] = tfds.features.Image(
          shape=(None, None, channels), dtype=dtype, doc=_DOCS[kind]
        )
    latent = self._entries[0]['latent']
    if latent is not None:
      features['w'] = tfds.features.Tensor(
        shape=latent.shape, dtype=np.float32, doc='the latent of the picture, w or w+'
      )
    return tfds.core.DatasetInfo(
      builder=self,
      description='Pictures with what is known of each: masks, true depth, the latent of a GAN.',
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,  # keeps the order; shuffling much data would need TensorFlow
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for number, entry in enumerate(self._entries):
      example = {'name': entry['name']}
      for kind, mode in self._modes.items():
        if mode:
          example[_KINDS[kind]] = entry[kind].read_bytes()
      if entry['latent'] is not None:
        example['w'] = entry['latent']
      yield number, example


def build(
  source: str | os.PathLike, data_dir: str | os.PathLike, *, size: int = 64
) -> pathlib.Path:
  """Writes gan2shape_heads/1.0.0 with the split 'train', in the order of the pictures' names.

  Args:
    source: a folder with the subfolder image/, as `config.data.images` takes it.
    data_dir: the folder of all TFDS data, made if missing.
    size: where the folder has pictures of several sizes, those of image`size`/ are taken, else
      image/; none is resampled.

  Returns:
    The folder written.

  Raises:
    DataError: the folder cannot be used, a picture is neither PNG nor JPEG or of another mode than
      RGB (image), 8-bit grey (masks), 8 or 16-bit grey (depth), the data set is there already, or
      it cannot be written.
  """
  source, data_dir = pathlib.Path(source).expanduser(), pathlib.Path(data_dir).expanduser()
  if not (source / 'image').is_dir():
    raise DataError(f'{source}: expected a folder with the subfolder image/')
  config_data = get_default_config().data
  config_data.images = str(source)
  pictures = load_pictures(config_data, size)
  builder = Gan2shapeHeads(pictures=pictures, data_dir=data_dir, file_format='array_record')
  written = pathlib.Path(builder.data_dir)
  if builder.is_prepared():
    raise DataError(f'{written}: expected no such folder, it would be written over')
  try:
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
  except OSError as error:
    raise DataError(f'cannot write {written}: {error.strerror or error}') from None
  return written


def _common_mode(kind, entries):
  """The mode that all pictures of a kind have; None where there are none."""
  if entries[0][kind] is None:
    return None
  modes = {}
  for entry in entries:
    path = entry[kind]
    try:
      with Image.open(path) as picture:
        form, mode = picture.format, picture.mode
    except OSError:
      raise DataError(f'{path}: expected a picture') from None
    if form not in _FORMATS or mode not in _ALLOWED[kind]:
      raise DataError(
        f'{path}: expected a PNG or JPEG of mode {" or ".join(_ALLOWED[kind])}, '
        f'this is a {form} of mode {mode}'
      )
    modes.setdefault(mode, path)
  if len(modes) > 1:
    first, second = modes.values()
    raise DataError(f'{second}: expected the same bits as {first}')
  return next(iter(modes))
