"""The pictures of a data set of TensorFlow Datasets (TFDS), read at random and without TensorFlow.

`config.data.source` is 'tfds:NAME', 'tfds:NAME/CONFIG' or either with ':1.2.3', a version. The data
lie prepared on disk, in a format with random access (array_record), where `data.tfds_dir` or TFDS's
default (TFDS_DATA_DIR, else ~/tensorflow_datasets) says; nothing is ever downloaded. TFDS lists the
examples; what they hold is decoded by `data.images`, as files are: no OpenCV, 16 bits as well.

Features used, by name:
  image             or the only image feature of another name: the picture
  mask, head_mask   image features, white on the object: its mask, the region of the metrics
  depth             an image feature of 8 or 16 bits: depth = 1.1 - 0.2 v
  w                 floats [w_dim] or [layers, w_dim]: the latent
  id, name          what the picture is called; without, its index in the split
"""

import functools
import pathlib
import re
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from gan2shape_jax.data.decoding import Encoded
from gan2shape_jax.data.images import read_depth, read_image, read_mask, read_photo
from gan2shape_jax.data.pictures import Picture, selected
from gan2shape_jax.errors import DataError

TFDS = 'tfds:'

_NONE = 'none'
_NAME = re.compile(r'(?P<name>\w+)(/[\w.+-]+)?(:\d+\.\d+\.\d+)?')
_SETTINGS = {'mask': 'masks', 'depth': 'depths', 'head_mask': 'regions', 'w': 'latents'}
_NAMES = ('id', 'name')


class TfdsPictures(Sequence[Picture]):
  """A sequence of `Picture`, each read from its record when it is asked for.

  Attributes:
    names: the pictures' names, in order.
    size: height and width in pixels.
  """

  def __init__(self, records, where: str, used: dict, rows: list[int], names: list[str], size: int):
    self._records, self._where, self._used, self._rows = records, where, used, rows
    self.names, self.size = names, size

  def __len__(self):
    return len(self._rows)

  @overload
  def __getitem__(self, index: int) -> Picture: ...
  @overload
  def __getitem__(self, index: slice) -> 'TfdsPictures': ...

  def __getitem__(self, index):
    if isinstance(index, slice):
      part = self._rows[index], self.names[index]
      return TfdsPictures(self._records, self._where, self._used, *part, self.size)
    row = self._rows[index]
    where = f'{self._where}[{row}]'
    record = self._records.read(row, where)

    def picture(read, kind) -> Any:
      if kind not in self._used:
        return None
      feature = self._used[kind]
      return read(Encoded(record[feature], f'{where} {feature}'), self.size)

    return Picture(
      name=self.names[index],
      image=picture(read_image, 'image'),
      mask=picture(read_mask, 'mask'),
      latent=_latent(record['w'], where) if 'w' in self._used else None,
      depth=picture(read_depth, 'depth'),
      region=picture(read_mask, 'head_mask'),
      path=pathlib.Path(where),
      photo=functools.partial(self._photo, row, where),
    )

  def inputs(self, index: int) -> dict:
    """What a fit of a picture begins from: bytes and arrays by kind."""
    row = self._rows[index]
    record = self._records.read(row, f'{self._where}[{row}]')
    kinds = {'picture': 'image', 'mask': 'mask', 'latent': 'w'}
    used = {kind: self._used[of] for kind, of in kinds.items() if of in self._used}
    return {kind: record[feature] for kind, feature in used.items()}

  def _photo(self, row, where, largest):
    feature = self._used['image']
    content = self._records.read(row, where)[feature]
    return read_photo(Encoded(content, f'{where} {feature}'), largest)


def load_tfds_pictures(config_data, image_size: int) -> TfdsPictures:
  """The pictures of a split of a prepared TFDS data set, in its order.

  Args:
    config_data: `config.data`: source, tfds_split, tfds_dir, start, num. masks, depths, regions and
      latents are '' (the data set's own, where it has them) or 'none'.
    image_size: height and width to bring them to, in pixels.

  Returns:
    A sequence of `Picture` that reads each when it is asked for. Names that are not found, or not
    unique among the pictures selected, are replaced by the indices of all.

  Raises:
    DataError: TFDS is not installed, the data are not there or not in a format with random access,
      there is no such split or no image feature, a feature is not what it is used as, or a setting
      does not go with TFDS. Unreadable records raise it when they are read.
  """
  source = config_data.source
  tfds = require_tfds(f'data.source={source}')
  for setting in _SETTINGS.values():
    if config_data[setting] not in ('', _NONE):
      raise DataError(
        f"data.{setting}={config_data[setting]}: expected '' or '{_NONE}' with data.source={source}"
      )
  if config_data.landmarks:
    raise DataError(f"data.landmarks: expected '' with data.source={source}")
  builder = _prepared(tfds, source, str(config_data.tfds_dir))
  dropped = {feature for feature, name in _SETTINGS.items() if config_data[name] == _NONE}
  features = builder.info.features
  used = _used_features(tfds, features, dropped, builder.data_dir)
  names = [name for name in _NAMES if name in features and _is_scalar(features[name])]
  split = config_data.tfds_split
  try:
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    serialized = builder.as_data_source(split, deserialize_method=raw)
    count = len(serialized)
  except NotImplementedError:
    raise DataError(
      f'{builder.data_dir}: expected a format with random access, this is '
      f'{builder.info.file_format.value}; `{_build(builder, "ANOTHER")}` writes one'
    ) from None
  except Exception as error:  # unknown splits, missing shards, damaged metadata
    raise DataError(f'{builder.data_dir}: data.tfds_split={split}: {_line(error)}') from None
  wanted = {name: features[name] for name in [*used.values(), *names[:1]]}
  records = _Records(tfds, serialized, wanted)
  where = f'{builder.data_dir}/{split}'
  rows = list(range(count))[selected(config_data, count, where)]
  called = _names(records, names[0], rows, where) if names else None
  width = max(3, len(str(count - 1)))
  return TfdsPictures(
    records, where, used, rows, called or [f'{row:0{width}d}' for row in rows], image_size
  )


class _Records:
  """Records of which only some features are looked at, pictures left as their files' bytes."""

  def __init__(self, tfds, serialized, features):
    self._serialized = serialized
    self._features = tfds.features.FeaturesDict(features)
    pictures = _pictures(tfds, features)
    self._decoders = {name: tfds.decode.SkipDecoding() for name in pictures}

  def read(self, row, where):
    try:
      record = self._serialized[row]
      return self._features.deserialize_example_np(record, decoders=self._decoders)
    except Exception as error:  # damaged records fail in array_record, protobuf or numpy
      raise DataError(f'{where}: expected a complete record ({_line(error)})') from None


def require_tfds(wanted: str):
  """The module tensorflow_datasets.

  Args:
    wanted: what needs it, for the message.

  Raises:
    DataError: it or array_record is not installed, with what to install.
  """
  try:
    import array_record.python.array_record_module  # noqa: F401
    import tensorflow_datasets
  except ImportError as error:
    raise DataError(
      f"{wanted}: expected the package {error.name}: pip install 'gan2shape_jax[tfds]'"
    ) from None
  return tensorflow_datasets


def _prepared(tfds, source, folder):
  """The builder of a data set whose data are on disk."""
  name = source.removeprefix(TFDS)
  parts = _NAME.fullmatch(name)
  if not parts:  # namespaces and arguments are refused too: their code could download
    raise DataError(f"data.source={source}: expected 'tfds:NAME', /CONFIG and :VERSION after it")
  data_dir = pathlib.Path(folder or tfds.core.constants.DATA_DIR).expanduser()
  found = _versions(data_dir, parts['name'])
  try:
    builder = tfds.builder(name, data_dir=data_dir)
    if pathlib.Path(builder.data_dir).is_dir() and builder.is_prepared():
      return builder
  except Exception as error:  # of several kinds, some with lists of all that TFDS knows
    raise DataError(
      f'data.source={source}: expected {name} in {data_dir}, {found} ({type(error).__name__})'
    ) from None
  raise DataError(
    f'data.source={source}: expected {builder.info.full_name} in {builder.data_dir}, {found}; '
    f'nothing is downloaded here, `{_build(builder, data_dir)}` does it'
  )


def _versions(data_dir, name):
  """What there is of a data set, as text."""
  found = sorted(data_dir.glob(f'{name}/**/dataset_info.json'))
  listed = ', '.join(str(path.parent.relative_to(data_dir)) for path in found)
  return f'there is {listed}' if listed else 'there is nothing of it'


def _build(builder, data_dir):
  """The command of TFDS that prepares a data set."""
  name = '/'.join(builder.info.full_name.split('/')[:-1])
  return f'tfds build {name} --file_format=array_record --data_dir={data_dir}'


def _used_features(tfds, features, dropped, where):
  """What a feature is used for -> its name; 'image' may have another."""
  pictures = _pictures(tfds, features)
  candidates = ['image'] if 'image' in pictures else sorted(pictures - set(_SETTINGS))
  if len(candidates) != 1:
    found = ', '.join(candidates) or 'none'
    raise DataError(f'{where}: expected one image feature, or one named image, there are: {found}')
  used = {'image': candidates[0]}
  if not _is_whole(features[candidates[0]]):
    raise DataError(f'{where}: expected whole-number pixels, {features[candidates[0]]} has others')
  for name, setting in _SETTINGS.items():
    if name not in features or name in dropped:
      continue
    if name == 'w':
      right, expected = _is_latent(features[name]), 'floats [w_dim] or [layers, w_dim]'
    else:
      right, expected = name in pictures and _is_whole(features[name]), 'an image of whole numbers'
    if not right:
      raise DataError(
        f'{where}: expected {name} to be {expected}, this is {features[name]}: '
        f'--config.data.{setting}={_NONE} leaves it out'
      )
    used[name] = name
  return used


def _pictures(tfds, features):
  return {name for name, feature in features.items() if isinstance(feature, tfds.features.Image)}


def _is_whole(feature):
  return np.dtype(feature.np_dtype).kind == 'u'


def _is_latent(feature):
  kind = getattr(feature, 'np_dtype', None)
  return kind is not None and np.dtype(kind).kind == 'f' and len(feature.shape) in (1, 2)


def _latent(value, where):
  latent = np.asarray(value, np.float32)
  if not np.isfinite(latent).all():
    raise DataError(f'{where} w: expected finite latents, some are not')
  return latent


def _is_scalar(feature):
  """Whether a feature is one text or one whole number."""
  kind = getattr(feature, 'np_dtype', None)
  return kind is not None and feature.shape == () and np.dtype(kind).kind in 'OSUiu'


def _names(records, feature, rows, where):
  """Names fit for folders out of a feature, or None where they are not unique."""
  names = []
  for row in rows:
    value = records.read(row, f'{where}[{row}]')[feature]
    text = value.decode(errors='replace') if isinstance(value, bytes) else str(value)
    names.append(re.sub(r'[^\w.-]+', '_', text).lstrip('.'))
  return names if all(names) and len(set(names)) == len(names) else None


def _line(error):
  """The first line of an error's text, or its kind."""
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
