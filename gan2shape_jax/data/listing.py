"""The picture files that a file, a folder, a glob or a list names.

A list is a .txt with one path a line, relative to the list's folder; empty lines and lines that
begin with # are passed over. Its order is kept; folders and globs are sorted by name.
"""

import codecs
import collections
import glob
import pathlib
import sys
import unicodedata

from gan2shape_jax.data.decoding import is_picture
from gan2shape_jax.errors import DataError

# Of two files of one name the one of a common ending is the picture.
_COMMON = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm')
_LIST = '.txt'
_TOLD = 6  # endings or folders in a message


def listed(place: pathlib.Path) -> list[pathlib.Path]:
  """The picture files of a place; what is passed over in a folder is said.

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
    passed_over = _others(place, files)
    if not files:
      raise DataError(
        f'{place}: expected pictures in this folder, there are none{_hint(place, passed_over)}'
      )
    if passed_over:
      print(f'{place}: {passed_over} passed over', file=sys.stderr)
  elif place.is_file():
    return [place]
  elif glob.has_magic(str(place)):
    found = (pathlib.Path(path) for path in glob.glob(str(place), recursive=True))
    files = _sorted(path for path in found if path.is_file() and is_picture(path))
    if not files:
      raise DataError(f'{place}: expected pictures, nothing matches')
  elif place.exists():
    raise DataError(f'{place}: expected pictures, this is no plain file')
  else:
    raise DataError(f'{place}: no such file or folder, expected pictures')
  refuse_duplicates(files)
  return files


def is_list(place: pathlib.Path) -> bool:
  """Whether a place is a file that lists others."""
  return place.suffix.lower() == _LIST and place.is_file()


def in_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  """The pictures in a folder by name, hidden files left out."""
  try:
    files = _sorted(path for path in folder.iterdir() if path.is_file() and is_picture(path))
  except OSError as error:
    raise DataError(f'{folder}: cannot list it ({error.strerror or error})') from None
  common = {path.stem for path in files if path.suffix.lower() in _COMMON}
  return [path for path in files if path.suffix.lower() in _COMMON or path.stem not in common]


def neighbours(files: list[pathlib.Path]) -> list[pathlib.Path]:
  """All pictures of the folder that a file or the files of a glob lie in."""
  folders = {file.parent for file in files}
  return in_folder(folders.pop()) if len(folders) == 1 else files


def same_name(name: str) -> str:
  """What names have in common that look the same: file systems keep accents in two ways."""
  return unicodedata.normalize('NFC', name)


def refuse_duplicates(files: list[pathlib.Path]) -> None:
  """Raises `DataError` where two files differ only in folder or ending."""
  first = {}
  for file in files:
    name = same_name(file.stem)
    if name in first:
      raise DataError(f'{file}: expected names to differ, {first[name]} has the same')
    first[name] = file


def _others(folder, pictures):
  """The files of a folder that are no pictures, as a text; '' where there are none."""
  taken = set(pictures)
  others = [p for p in folder.iterdir() if p not in taken and p.is_file() and p.name[0] != '.']
  if not others:
    return ''
  endings = collections.Counter(path.suffix.lower() or 'no ending' for path in others)
  told = ', '.join(ending for ending, _ in endings.most_common(_TOLD))
  more = ', ...' if len(endings) > _TOLD else ''
  return f'{len(others)} {"file" if len(others) == 1 else "files"} ({told}{more})'


def _hint(folder, passed_over):
  """What a folder without pictures holds instead."""
  inside = sorted(p.name for p in folder.iterdir() if p.is_dir() and _holds_pictures(p))
  if inside:
    told = ', '.join(inside[:_TOLD]) + (', ...' if len(inside) > _TOLD else '')
    return f"; its sub-folders hold some ({told}): name one of them, or '{folder}/**/*.*'"
  return f', but {passed_over} of other kinds' if passed_over else ''


def _holds_pictures(folder):
  try:
    return any(is_picture(path) for path in folder.iterdir())
  except OSError:
    return False


def _in_list(place):
  try:
    content = place.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    lines = content.decode('utf-16' if wide else 'utf-8-sig').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, 'strerror', None) or 'it is no text'
    raise DataError(f'{place}: expected a list with one path a line ({reason})') from None
  files = []
  for number, line in enumerate(lines, 1):
    line = line.strip()
    if not line or line.startswith('#'):
      continue
    path = _meant(place, line)
    if path is None:
      raise DataError(
        f'{place}, line {number}: no such file {place.parent / line}, expected a picture'
      )
    files.append(path)
  if not files:
    raise DataError(f'{place}: expected a list with one path a line, it names none')
  refuse_duplicates(files)
  return files


def _meant(place, line):
  r"""The file that a line of a list means, also with \ or in quotes; None without one."""
  plain = line.strip('"')
  for text in (line, plain, plain.replace('\\', '/')):
    try:
      path = place.parent / pathlib.Path(text).expanduser()
      if path.is_file():
        return path
    except (OSError, RuntimeError, ValueError):  # no such user, or no name of a file at all
      continue
  return None


def _sorted(paths):
  return sorted(paths, key=lambda path: (path.stem, str(path)))
