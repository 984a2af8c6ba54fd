"""Pages of the site for files of the repository that the documentation links to.

On a git host `../gan2shape_jax/config.py` leads from a page to that file. A site has no such file,
so each one that a page links to becomes a page `source/...` of its own, and the links lead there.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

_LINK = re.compile(r'\]\((?P<target>\.\./[^)\s#]+)(?P<anchor>#[^)\s]*)?\)')
_LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.toml': 'toml'}


def on_files(files, config):
  """Adds a page for each file that is linked to."""
  docs = pathlib.Path(config.docs_dir)
  for page in list(files.documentation_pages()):
    if not page.src_uri.endswith('.md'):
      continue
    for match in _LINK.finditer(page.content_string):
      target = _outside(page.src_uri, match['target'])
      path = docs.parent / (target or '')
      uri = f'source/{target}.md'
      if target and path.is_file() and files.get_file_from_path(uri) is None:
        files.append(File.generated(config, uri, content=_content(target, path)))
  return files


def on_page_markdown(markdown, *, page, config, files):
  """Leads links to the pages that were added; others are left, and are then warned of."""

  def replace(match):
    target = _outside(page.file.src_uri, match['target'])
    uri = f'source/{target}.md'
    if target is None or files.get_file_from_path(uri) is None:
      return match[0]
    link = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri))
    return f']({link}{match["anchor"] or ""})'

  return _LINK.sub(replace, markdown)


def _outside(page, target):
  """The path in the repository that a link leads to from a page, or None within docs/."""
  path = posixpath.normpath(posixpath.join('docs', posixpath.dirname(page), target))
  return None if path.startswith(('docs/', '../')) else path


def _content(target, path):
  text = path.read_text(encoding='utf-8')
  if path.suffix == '.md':
    return text
  fence = '`' * 4
  return f'# `{target}`\n\n{fence}{_LANGUAGES.get(path.suffix, "text")}\n{text}\n{fence}\n'
