"""Makes the tables in the documentation from the results in `benchmarks/results`.

  python -m benchmarks.tables            writes them
  python -m benchmarks.tables --check    fails where a document says something else

A table stands in a document between `<!-- table: NAME -->` and `<!-- end -->`; its figures come
from NAME.json alone. Figures whose record is missing stay as they are, if the text between the
markers begins by saying so; a result takes their place.
"""

import argparse
import json
import pathlib
import re
from collections.abc import Mapping, Sequence

from benchmarks.support.commands import RESULTS, ROOT
from benchmarks.support.markdown import TABLES, block

WITHOUT_RECORD = 'Measured earlier, without a record'
_BLOCK = re.compile(r'(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)', re.DOTALL)


class TableError(ValueError):
  """A document's markers and the results do not fit; one line."""


def documents() -> list[pathlib.Path]:
  """The files that may hold tables."""
  return [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def read_results(folder: pathlib.Path) -> dict[str, dict]:
  """Name of a benchmark -> what it measured."""
  return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))}


def fill(text: str, results: Mapping[str, dict]) -> str:
  """A document with its tables made anew.

  Args:
    text: of the document.
    results: name -> what was measured.

  Returns:
    The text; it is the same where nothing is out of date.

  Raises:
    TableError: a marker names no benchmark or has no end, or figures have no record and do not
      say so.
  """
  names = re.findall(r'<!-- table: (.*?) -->', text)
  if len(names) != len(_BLOCK.findall(text)):
    raise TableError(f'a table has no end: one of {", ".join(names)}')

  def filled(match):
    begin, name, content, end = match.groups()
    if name not in TABLES:
      raise TableError(f'table {name}: expected one of {", ".join(TABLES)}')
    if name in results:
      return f'{begin}{block(name, results[name])}\n{end}'
    if not content.startswith(WITHOUT_RECORD):
      raise TableError(f'table {name}: there is no {name}.json, and the text does not say so')
    return match.group()

  return _BLOCK.sub(filled, text)


def main(arguments: Sequence[str] | None = None) -> list[str]:
  """The command; returns the names of the documents that were out of date."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--check', action='store_true', help='write nothing, fail if out of date')
  parser.add_argument('--results', type=pathlib.Path, default=RESULTS, help='folder of results')
  options = parser.parse_args(arguments)
  results, stale = read_results(options.results), []
  for path in documents():
    text = path.read_text(encoding='utf-8')
    try:
      made = fill(text, results)
    except TableError as error:
      parser.exit(1, f'{path.name}: {error}\n')
    if made != text:
      stale.append(path.name)
      if not options.check:
        path.write_text(made, encoding='utf-8')
  if stale and options.check:
    parser.exit(1, f'out of date: {", ".join(stale)}; `python -m benchmarks.tables` makes them\n')
  return stale


if __name__ == '__main__':
  main()
