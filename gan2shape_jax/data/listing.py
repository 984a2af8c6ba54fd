"""The picture files that a file, a folder, a glob or a list names.

A list is a .txt with one path a line, relative to the list's folder; empty lines and lines that
begin with # are passed over. Its order is kept; folders and globs are sorted by name.
"""

import glob
import pathlib

from gan2shape_jax.data.errors import DataError

_ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm')
_LIST = '.txt'


def listed(place: pathlib.Path) -> list[pathlib.Path]:
  """The picture files of a place.

  Args:
    place: a picture, a folder, a glob or a list.

  Returns:
    At least one path; no two of the same name.

  Raises:
    DataError: there is no picture, a listed one is missing, or two have the same name.
  """
  if is_list(place):
    return _in_list(place)
  if place.is_dir():
    files = in_folder(place)
    if not files:
      raise DataError(f'{place}: expected pictures in this folder, there are none')
  elif place.is_file():
    return [place]
  elif glob.has_magic(str(place)):
    found = (pathlib.Path(path) for path in glob.glob(str(place), recursive=True))
    files = _sorted(path for path in found if path.is_file() and _is_picture(path))
    if not files:
      raise DataError(f'{place}: expected pictures, nothing matches')
  else:
    raise DataError(f'{place}: no such file or folder, expected pictures')
  refuse_duplicates(files)
  return files


def is_list(place: pathlib.Path) -> bool:
  """Whether a place is a file that lists others."""
  return place.suffix.lower() == _LIST and place.is_file()


def in_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  """The pictures in a folder by name, hidden files left out."""
  return _sorted(path for path in folder.iterdir() if path.is_file() and _is_picture(path))


def neighbours(files: list[pathlib.Path]) -> list[pathlib.Path]:
  """All pictures of the folder that a file or the files of a glob lie in."""
  folders = {file.parent for file in files}
  return in_folder(folders.pop()) if len(folders) == 1 else files


def refuse_duplicates(files: list[pathlib.Path]) -> None:
  """Raises `DataError` where two files differ only in folder or ending."""
  first = {}
  for file in files:
    if file.stem in first:
      raise DataError(f'{file}: expected names to differ, {first[file.stem]} has the same')
    first[file.stem] = file


def _in_list(place):
  try:
    lines = place.read_text(encoding='utf-8-sig').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, 'strerror', None) or 'it is no text'
    raise DataError(f'{place}: expected a list with one path a line ({reason})') from None
  files = []
  for number, line in enumerate(lines, 1):
    line = line.strip()
    if not line or line.startswith('#'):
      continue
    path = place.parent / pathlib.Path(line).expanduser()
    if not path.is_file():
      raise DataError(f'{place}, line {number}: no such file {path}, expected a picture')
    files.append(path)
  if not files:
    raise DataError(f'{place}: expected a list with one path a line, it names none')
  refuse_duplicates(files)
  return files


def _is_picture(path):
  return path.suffix.lower() in _ENDINGS and not path.name.startswith('.')


def _sorted(paths):
  return sorted(paths, key=lambda path: (path.stem, str(path)))
