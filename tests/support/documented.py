"""What the documentation shows: blocks of code, commands within sentences, names of settings."""

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]

# Of what was tried and when; what it quotes may be gone.
_HISTORY = 'experiments_log.md'

PAGES = [
  ROOT / 'README.md',
  *(path for path in sorted((ROOT / 'docs').glob('*.md')) if path.name != _HISTORY),
]


class Block(NamedTuple):
  """A fenced block.

  Attributes:
    page: its file.
    line: number of the line with the fence.
    language: as the fence has it, or ''.
    text: what is between the fences.
    reason: why it is not run, of `<!-- not run: REASON -->` on the line before; or ''.
  """

  page: pathlib.Path
  line: int
  language: str
  text: str
  reason: str

  def __str__(self):
    return f'{self.page.relative_to(ROOT)}:{self.line}'


def blocks(page: pathlib.Path) -> Iterator[Block]:
  """The blocks of a page, in order."""
  before, opened = '', None
  for number, line in enumerate(page.read_text(encoding='utf-8').splitlines(), 1):
    if opened is not None:
      if line.strip() == '```':
        yield opened._replace(text='\n'.join([*opened.text, '']))
        opened = None
      else:
        opened.text.append(line)
    elif match := re.fullmatch(r' *```(\S*)', line):
      mark = re.fullmatch(r'<!-- not run: (.+) -->', before.strip())
      opened = Block(page, number, match[1], [], mark[1] if mark else '')
    before = line
  assert opened is None, f'{opened}: no end'


def sentences(page: pathlib.Path) -> str:
  """The text of a page outside of its blocks."""
  return re.sub(r'^ *```.*?^ *```$', '', page.read_text(encoding='utf-8'), flags=re.M | re.S)


def quoted(page: pathlib.Path) -> list[str]:
  """What stands in backquotes in sentences and tables, each on one line."""
  return [' '.join(text.split()) for text in re.findall(r'`([^`]+)`', sentences(page))]


def quoted_commands(page: pathlib.Path) -> list[str]:
  """Commands in backquotes."""
  found = []
  for text in quoted(page):
    if re.match(r'python (-m benchmarks\.|(experiments|benchmarks)/)|gan2shape-jax \w', text):
      found.append(text)
    elif re.match(r'experiments/\w+\.py -', text):
      found.append(f'python {text}')
  return found
