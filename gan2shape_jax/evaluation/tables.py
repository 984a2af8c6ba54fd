"""Tables of metrics: one row a picture, then mean and standard deviation; as CSV and as text.

A row is a dict with 'name' and numbers.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from gan2shape_jax.storage.atomic_files import write_text
from gan2shape_jax.storage.statistics import mean_and_deviation

_WIDEST = 64  # characters of a cell for a terminal


def summarize(rows: Sequence[Mapping]) -> list[dict]:
  """The mean and the standard deviation (population) of each metric, as two more rows.

  Args:
    rows: dicts with 'name' and numbers; pictures without a value (NaN) are left out of it.

  Returns:
    Two dicts, named 'mean' and 'std', with the numeric columns of the rows.
  """
  means: dict[str, str | float] = {'name': 'mean'}
  deviations: dict[str, str | float] = {'name': 'std'}
  for column in _columns(rows)[1:]:
    means[column], deviations[column], _ = mean_and_deviation(row.get(column) for row in rows)
  return [means, deviations]


def write_metrics(path: str | os.PathLike, rows: Sequence[Mapping]):
  """Writes rows and their mean and deviation as CSV; the file appears complete or not at all.

  Args:
    path: the file, an existing one is replaced.
    rows: dicts with 'name' first and the same columns.

  Raises:
    ArtefactError: the folder cannot be written.
  """
  text = io.StringIO()
  writer = csv.DictWriter(text, _columns(rows), lineterminator='\n', restval='')
  writer.writeheader()
  writer.writerows([*rows, *summarize(rows)])
  write_text(path, text.getvalue())


def format_table(rows: Sequence[Mapping], *, summary: bool = True) -> str:
  """Rows as an aligned table for a terminal.

  Args:
    rows: dicts with 'name' and numbers.
    summary: whether mean and deviation follow where there are several.

  Returns:
    Lines joined by newlines, without one at the end.
  """
  columns = _columns(rows)
  body = [*rows, *(summarize(rows) if summary and len(rows) > 1 else [])]
  cells = [columns, *([_cell(row.get(column, '')) for column in columns] for row in body)]
  widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
  lines = []
  for line in cells:
    first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
    lines.append('  '.join([first.strip().ljust(widths[0]), *others]).rstrip())
  return '\n'.join(lines)


def _columns(rows):
  """All columns in the order in which they appear, 'name' first."""
  found = dict.fromkeys(column for row in rows for column in row)
  return ['name', *(column for column in found if column != 'name')]


def _is_number(value):
  return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _cell(value):
  if not _is_number(value):
    text = ' '.join(str(value).split())
    return text if len(text) <= _WIDEST else f'{text[: _WIDEST - 1]}…'
  return f'{value:.0f}' if float(value).is_integer() and abs(value) >= 1 else f'{value:.4g}'
