"""One self-contained HTML page over the results of a run: open it anywhere, nothing is fetched."""

import base64
import html
import json
import math
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np
from scipy import ndimage

from gan2shape_jax.artefacts import files, pictures
from gan2shape_jax.artefacts.mesh import Mesh, mesh_from_depth
from gan2shape_jax.renderer import Camera

_SHOWN = 100  # pictures in full
_VIDEOS = {
  'rotate_3d_object': 'turned',
  'rotate_gan': 'turned, through the GAN',
  'relight_3d': 'relit',
  'relight_gan': 'relit, through the GAN',
  'rotate_3d': 'turned with its surroundings',
}
_SHEETS = {
  'inversion.png': "picture and the GAN's image of its latent",
  'views.png': 'views',
  'gan_views.png': 'views through the GAN',
  'relight.png': 'lights',
  'gan_relight.png': 'lights through the GAN',
}


def write_page(workdir, names: Sequence[str], *, title: str = 'GAN2Shape results') -> pathlib.Path:
  """Writes `<workdir>/index.html` from the files that `write_results` wrote.

  The first hundred pictures are shown; the table links to the sheets of the others (their metrics
  where there are none), whose pictures no browser could hold.

  Args:
    workdir: the run's folder; each picture's results lie in `<workdir>/<name>/`.
    names: the pictures, in the page's order; videos and sheets that are missing are left out.
    title: the page's title.

  Returns:
    The page's path.

  Raises:
    ArtefactError: a picture has no readable `factors.npz` or `metrics.json`, or the page could not
      be written.
  """
  workdir = pathlib.Path(workdir)
  metrics = {name: _read_metrics(workdir / name) for name in names}
  template = resources.files('gan2shape_jax.artefacts')
  page = template.joinpath('page.html').read_text(encoding='utf-8')
  parts = {
    'TITLE': html.escape(title),
    'SUMMARY': _summary(workdir, metrics, shown=set(names[:_SHOWN])),
    'ARTICLES': '\n'.join(_article(workdir / name, name, metrics[name]) for name in names[:_SHOWN]),
    'VIEWER': template.joinpath('viewer.js').read_text(encoding='utf-8'),
  }
  for key, part in parts.items():
    page = page.replace('{{' + key + '}}', part)
  path = workdir / 'index.html'
  files.write_text(path, page)
  return path


def mean_and_deviation(
  metrics: Mapping[str, Mapping[str, float]],
) -> dict[str, tuple[float, float, int]]:
  """Statistics of each metric over the pictures that have it.

  Args:
    metrics: picture -> metric -> number; None and NaN count as absent.

  Returns:
    metric -> mean, population standard deviation, number of pictures.
  """
  keys = dict.fromkeys(key for row in metrics.values() for key in row)
  statistics = {}
  for key in keys:
    values = np.array([row[key] for row in metrics.values() if _is_number(row.get(key))])
    if len(values):
      statistics[key] = float(values.mean()), float(values.std()), len(values)
  return statistics


def _is_number(value):
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_metrics(folder):
  content = files.read_bytes(folder / 'metrics.json')
  try:
    metrics = json.loads(content)
  except ValueError as error:
    raise files.ArtefactError(f'cannot read {folder / "metrics.json"}: {error}') from error
  if not isinstance(metrics, dict):
    raise files.ArtefactError(f'cannot read {folder / "metrics.json"}: it holds no table')
  return metrics


def _number(value):
  return f'{value:.4g}' if _is_number(value) else '–' if value is None else html.escape(str(value))


def _summary(workdir, metrics, shown):
  statistics = mean_and_deviation(metrics)
  if not statistics:
    return '<p>No metrics: there is nothing to compare with.</p>'
  cells = [f'<th scope="col">{html.escape(key)}</th>' for key in statistics]
  rows = [f'<tr><th scope="col">picture</th>{"".join(cells)}</tr>']
  for label, index in (('mean', 0), ('standard deviation', 1)):
    values = ''.join(f'<td>{entry[index]:.4g}</td>' for entry in statistics.values())
    rows.append(f'<tr class="total"><th scope="row">{label}</th>{values}</tr>')
  for name, row in metrics.items():
    values = ''.join(f'<td>{_number(row.get(key))}</td>' for key in statistics)
    escaped = html.escape(name)
    place = f'#{escaped}'
    if name not in shown:
      file = 'sheet.png' if (workdir / name / 'sheet.png').exists() else 'metrics.json'
      place = f'{urllib.parse.quote(name)}/{file}'
    rows.append(f'<tr><th scope="row"><a href="{place}">{escaped}</a></th>{values}</tr>')
  return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def _article(folder, name, metrics):
  escaped = html.escape(name)
  figures = ', '.join(f'{html.escape(key)} {_number(value)}' for key, value in metrics.items())
  moving = ''.join(_video(folder, stem, label) for stem, label in _VIDEOS.items())
  sheets = ''.join(
    f'<details><summary>{label}</summary>{_image(folder / file, f"{name}: {label}")}</details>'
    for file, label in _SHEETS.items()
    if (folder / file).exists()
  )
  sheet = ''
  if (folder / 'sheet.png').exists():
    sheet = _image(folder / 'sheet.png', f'{name}: input, reconstruction and factors')
  return (
    f'<article id="{escaped}"><h2>{escaped}</h2><p class="figures">{figures}</p>{sheet}'
    f'<div class="row">{_viewer(folder, name)}{moving}</div>{sheets}</article>'
  )


def _data_uri(content, kind):
  return f'data:{kind};base64,{base64.b64encode(content).decode("ascii")}'


def _image(path, alternative):
  # JPEG is a third as large as PNG here, and the PNG lies beside the page.
  content, width, height = pictures.jpeg(files.read_bytes(path))
  return (
    f'<img class="sheet" width="{width}" height="{height}" alt="{html.escape(alternative)}" '
    f'src="{_data_uri(content, "image/jpeg")}">'
  )


def _video(folder, stem, label):
  video, picture = folder / f'{stem}.mp4', folder / f'{stem}.gif'
  if video.exists():
    source = _data_uri(files.read_bytes(video), 'video/mp4')
    shown = f'<video src="{source}" autoplay loop muted playsinline></video>'
  elif picture.exists():
    shown = f'<img src="{_data_uri(files.read_bytes(picture), "image/gif")}" alt="{label}">'
  else:
    return ''
  return f'<figure>{shown}<figcaption>{label}</figcaption></figure>'


def _viewer(folder, name):
  mesh, texture = _read_mesh(folder / 'factors.npz')
  wide = '<u2' if len(mesh.vertices) < 65536 else '<u4'
  content = {
    'vertices': _base64(mesh.vertices, '<f4'),
    'normals': _base64(mesh.normals, '<f4'),
    'uv': _base64(mesh.uv, '<f4'),
    'faces': _base64(mesh.faces, wide),
    'wide': wide == '<u4',
    'texture': _data_uri(pictures.png(texture), 'image/png'),
  }
  return (
    f'<figure class="viewer"><canvas width="512" height="512" tabindex="0" role="img" '
    f'aria-label="{html.escape(name)}: mesh, turn it with the mouse"></canvas>'
    '<figcaption title="drag to turn, wheel to zoom, double click for the front">drag me'
    '<button type="button" data-mode="texture">texture</button>'
    '<button type="button" data-mode="shape">shape</button>'
    '<button type="button" data-mode="normals">normals</button></figcaption>'
    f'<script type="application/json">{json.dumps(content)}</script></figure>'
  )


def _base64(array, kind):
  return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode('ascii')


def _read_mesh(path) -> tuple[Mesh, np.ndarray]:
  """The mesh of a picture, one vertex a pixel, and its texture with opacity."""
  try:
    with np.load(path) as arrays:
      camera = Camera(*(float(number) for number in arrays['camera']))
      depth, texture = arrays['canonical_depth'], pictures.to_uint8(arrays['texture'])
      # Walls between the object and what lies behind it are as steep as the normals say.
      mask = arrays['mask'][..., 0] * (arrays['normal'][..., 2] > 0.1)
  except (OSError, KeyError, ValueError, EOFError) as error:
    raise files.ArtefactError(f'cannot read {path}: {error}') from error
  size = 3 * len(depth) if len(depth) < 128 else len(depth)
  if not (mask >= 0.5).any():
    mask = np.ones_like(mask)
  # The opacity cuts the rim more finely than triangles do; they reach a pixel beyond it.
  opacity = pictures.resize(np.repeat(pictures.to_uint8(mask * 2 - 1)[..., None], 3, -1), size)
  texture = np.concatenate([pictures.resize(texture, size), opacity[..., :1]], axis=-1)
  reached = ndimage.binary_dilation(mask >= 0.5, iterations=2)
  return mesh_from_depth(depth, reached, texture[..., :3], camera), texture
