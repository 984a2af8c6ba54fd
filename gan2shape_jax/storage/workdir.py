"""The folder of a run: it can be written, and belongs to one configuration."""

import contextlib
import json
import os
import pathlib
import tempfile
import unicodedata
from collections.abc import Generator, Sequence

from ml_collections import ConfigDict

from gan2shape_jax.errors import ArtefactError, DataError, FitError
from gan2shape_jax.storage import atomic_files

# Settings that may change between runs into one folder.
_FREE = (
  'checkpoint.',
  'data.most_pixels ',
  'data.num ',
  'data.on_error ',
  'gan_training.cpu_devices ',
  'gan_training.decay_images ',
  'gan_training.devices ',
  'gan_training.images_shown ',
  'gan_training.style_mixing ',
  'parallel.',
  'profile ',
  'results.',
)

_PATHS = (
  'data.depths',
  'data.images',
  'data.landmarks',
  'data.latents',
  'data.masks',
  'data.regions',
  'data.tfds_dir',
  'gan.weights',
  'gan_training.images',
  'loss.perceptual_weights',
  'networks.pretrained',
  'parsing.weights',
  'prior.view_light',
)

# What a run writes into its folder beside the pictures' folders.
_OWN = ('config.json', 'failed.json', 'metrics.csv', 'index.html', 'events')
_OWN_JOINT = ('checkpoints', 'collected', 'inputs.json', 'networks.safetensors', 'pictures.txt')
_TEMPORARY = ('.partial-', '.lock-')


def read_json(path: pathlib.Path) -> dict:
  """A JSON table; raises `ArtefactError` where the file holds none."""
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError, RecursionError) as error:
    raise ArtefactError(f'cannot read {path}: expected JSON ({error})') from error
  if not isinstance(content, dict):
    raise ArtefactError(f'cannot read {path}: expected a table, found another JSON value')
  return content


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> str:
  """Makes the folder, and checks that it can be written and belongs to no other run.

  Returns:
    The content of its `config.json`.

  Raises:
    ArtefactError: the folder cannot be made, written or read.
    FitError: the folder belongs to a run with other settings.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir):
      pass
    atomic_files.sweep(workdir)
  except OSError as error:
    reason = error.strerror or error
    raise ArtefactError(
      f'cannot write {workdir}: {reason} (expected a folder for the results)'
    ) from error
  path = workdir / 'config.json'
  text = json.dumps(json.loads(config.to_json_best_effort()), indent=2, sort_keys=True)
  if path.exists():
    changed = _differences(_by_new_names(read_json(path)), json.loads(text))
    changed = [line for line in changed if not line.startswith(_FREE)]
    if changed:
      raise FitError(
        f'{path}: this folder holds a run with other settings ({"; ".join(changed[:5])}): choose '
        'another --workdir, or the settings of that run'
      )
  return text


@contextlib.contextmanager
def claimed(workdir: pathlib.Path, text: str) -> Generator[None, None, None]:
  """Writes the folder's `config.json`, and takes it back where nothing came of the run.

  What fails before its first checkpoint or result can begin again with other settings.

  Args:
    workdir: the folder.
    text: from `check_workdir`; '' where another process writes it.

  Raises:
    ArtefactError: the system refused.
  """
  path = workdir / 'config.json'
  is_new = bool(text) and not path.exists()
  if text:
    atomic_files.write_text(path, text)
  try:
    yield
  except Exception:
    kept = ('checkpoints/steps/[0-9]*', '*/checkpoints/steps/[0-9]*', '*/timing.json')
    if is_new and not any(any(workdir.glob(pattern)) for pattern in kept):
      with contextlib.suppress(OSError):
        path.unlink()
    raise


def check_names(names: Sequence[str], config: ConfigDict) -> None:
  """Refuses pictures for whose results no folder can be made, before any work.

  Args:
    names: of the pictures of a run.
    config: its configuration.

  Raises:
    DataError: one line that names the first such picture.
  """
  own = [*_OWN, *(_OWN_JOINT if config.mode == 'joint' else ())]
  if config.profile:
    own.append('profile')
  seen = {}
  for name in names:
    shown = name.encode('utf-8', 'backslashreplace').decode()
    told = f'{config.data.images}: expected another name than {shown!r} for a picture'
    if name in ('', '.', '..') or '/' in name or '\0' in name:
      raise DataError(f'{told}, no folder of the results can have it')
    if shown != name:
      raise DataError(f'{told}, it is not UTF-8')
    if name in own or name.startswith(_TEMPORARY):
      raise DataError(f'{told}, the run itself writes {name} into its folder')
    same = seen.setdefault(unicodedata.normalize('NFC', name), name)
    if same is not name and same != name:
      raise DataError(f'{told}, another has the same in other code points')


def _by_new_names(settings: dict) -> dict:
  """The settings of a folder that an earlier version made (`config.RENAMED`), by today's names."""
  if 'joint' in settings:
    settings['pretraining'] = settings.pop('joint')
  sampling = settings.get('sampling')
  match sampling:
    case {'rand_light': [x0, x1, y0, y1, k0, k1, ambient]}:
      del sampling['rand_light']
      ranges = {'x': [x0, x1], 'y': [y0, y1], 'strength': [k0, k1]}
      sampling['random_light'] = ranges | {'ambient': ambient}
  return settings


def _differences(old, new, prefix=''):
  changed = []
  for key in sorted(set(old) | set(new)):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      changed += _differences(a, b, f'{prefix}{key}.')
    elif a != b and not _same_place(f'{prefix}{key}', a, b):
      changed.append(f'{prefix}{key} {a!r} there, {b!r} here')
  return changed


def _same_place(setting, old, new) -> bool:
  """Whether two values of a setting of paths mean the same files."""
  if setting not in _PATHS or not (isinstance(old, str) and isinstance(new, str)):
    return False
  places = [
    [os.path.realpath(os.path.expanduser(part.strip())) for part in value.split(',')]
    for value in (old, new)
  ]
  return bool(old and new) and places[0] == places[1]
