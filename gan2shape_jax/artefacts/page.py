"""One self-contained HTML page over the results of a run: open it anywhere, nothing is fetched."""

import base64
import html
import json
import pathlib
import re
import urllib.parse
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np
import trimesh
from PIL import Image

from gan2shape_jax.artefacts import image_files
from gan2shape_jax.artefacts.mesh import Mesh, mesh_from_depth
from gan2shape_jax.errors import ArtefactError
from gan2shape_jax.renderer import Camera
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.statistics import is_number, mean_and_deviation
from gan2shape_jax.storage.workdir import read_json

_SHOWN = 100  # pictures in full
_TEXTURE = 1024  # pixels of the mesh's texture and of the picture at most
_VIDEOS = {
  'rotate_3d_object': 'turned',
  'rotate_3d': 'with its surroundings',
  'rotate_gan': 'turned, through the GAN',
  'relight_3d': 'relit',
  'relight_gan': 'relit, through the GAN',
}
_METRICS = {
  'image_l1': 'image L1',
  'side_x100': 'SIDE ×100',
  'mad': 'MAD, degrees',
  'mae': 'depth MAE, camera units',
  'mse': 'depth MSE, squared camera units',
  'pixels': 'pixels compared',
  'inversion_l1': 'inversion L1',
  'gan_distance': 'distance from the GAN’s images',
  'milliseconds': 'prediction, ms',
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
  metrics = {name: read_json(workdir / name / 'metrics.json') for name in names}
  template = resources.files('gan2shape_jax.artefacts')
  page = template.joinpath('page.html').read_text(encoding='utf-8')
  parts = {
    'TITLE': html.escape(title),
    'SUMMARY': _summary(workdir, metrics, shown=set(names[:_SHOWN])),
    'ARTICLES': '\n'.join(_article(workdir / name, name, metrics[name]) for name in names[:_SHOWN]),
    'VIEWER': template.joinpath('viewer.js').read_text(encoding='utf-8'),
  }
  # In one pass: what is filled in may have braces of its own.
  page = re.sub(r'\{\{(\w+)\}\}', lambda match: parts.get(match[1], match[0]), page)
  path = workdir / 'index.html'
  atomic_files.write_text(path, page)
  return path


def _number(value):
  return f'{value:.4g}' if is_number(value) else '–' if value is None else html.escape(str(value))


def _summary(workdir, metrics, shown):
  keys = dict.fromkeys(key for row in metrics.values() for key in row)
  found = {key: mean_and_deviation(row.get(key) for row in metrics.values()) for key in keys}
  statistics = {key: of_key for key, of_key in found.items() if of_key.count}
  if not statistics:
    return '<p>No metrics: there is nothing to compare with.</p>'
  cells = [f'<th scope="col">{_label(key)}</th>' for key in statistics]
  rows = [f'<tr><th scope="col">picture</th>{"".join(cells)}</tr>']
  for label, part in (('mean', 'mean'), ('standard deviation', 'deviation')):
    values = ''.join(f'<td>{getattr(entry, part):.4g}</td>' for entry in statistics.values())
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


def _label(metric):
  """A metric's name and unit."""
  return html.escape(_METRICS.get(metric, metric))


def _article(folder, name, metrics):
  escaped = html.escape(name)
  shown = _read_shown(folder)
  figures = ''.join(
    f'<div><dt>{_label(key)}</dt><dd>{_number(value)}</dd></div>' for key, value in metrics.items()
  )
  moving = ''.join(_video(folder, stem, label) for stem, label in _VIDEOS.items())
  sheets = ''.join(
    f'<details><summary>{label}</summary>{_image(folder / file, f"{name}: {label}")}</details>'
    for file, label in _SHEETS.items()
    if (folder / file).exists()
  )
  sheet = ''
  if (folder / 'sheet.png').exists():
    sheet = _image(folder / 'sheet.png', f'{name}: input, reconstruction and factors')
  limit = ''
  if shown.yaw < 180:
    limit = (
      f'<p class="limit">Turned by up to {shown.yaw:.4g}° to each side: a depth map has no back, '
      'and farther round too little of the object is left.</p>'
    )
  picture = _data_uri(image_files.jpeg(image_files.png(shown.picture))[0], 'image/jpeg')
  return (
    f'<article id="{escaped}"><h2>{escaped}</h2><dl class="figures">{figures}</dl>'
    f'<div class="stage"><figure><img src="{picture}" alt="{escaped}: the picture">'
    f'<figcaption>picture</figcaption></figure>{_viewer(shown, name)}</div>'
    f'<div class="videos">{moving}</div>{limit}{sheet}{sheets}</article>'
  )


def _data_uri(content, kind):
  return f'data:{kind};base64,{base64.b64encode(content).decode("ascii")}'


def _image(path, alternative):
  # JPEG is a third as large as PNG here, and the PNG lies beside the page.
  content, width, height = image_files.jpeg(atomic_files.read_bytes(path))
  return (
    f'<img class="sheet" width="{width}" height="{height}" alt="{html.escape(alternative)}" '
    f'src="{_data_uri(content, "image/jpeg")}">'
  )


def _video(folder, stem, label):
  video, picture = folder / f'{stem}.mp4', folder / f'{stem}.gif'
  if video.exists():
    source = _data_uri(atomic_files.read_bytes(video), 'video/mp4')
    shown = f'<video src="{source}" autoplay loop muted playsinline></video>'
  elif picture.exists():
    shown = f'<img src="{_data_uri(atomic_files.read_bytes(picture), "image/gif")}" alt="{label}">'
  else:
    return ''
  return f'<figure>{shown}<figcaption>{label}</figcaption></figure>'


def _viewer(shown, name):
  mesh = shown.mesh
  wide = '<u2' if len(mesh.vertices) < 65536 else '<u4'
  content = {
    'vertices': _base64(mesh.vertices, '<f4'),
    'normals': _base64(np.round(np.pad(mesh.normals, ((0, 0), (0, 1))) * 127), 'i1'),
    'uv': _base64(np.round(np.clip(mesh.uv, 0, 1) * 65535), '<u2'),
    'faces': _base64(mesh.faces, wide),
    'wide': wide == '<u4',
    'yaw': float(np.deg2rad(shown.yaw)),
    'texture': _data_uri(image_files.jpeg(image_files.png(mesh.texture))[0], 'image/jpeg'),
  }
  return (
    f'<figure class="viewer"><canvas width="1024" height="1024" tabindex="0" role="img" '
    f'aria-label="{html.escape(name)}: mesh, turn it with the mouse"></canvas>'
    '<figcaption title="drag to turn, wheel to zoom, double click for the front">mesh, drag to turn'
    '<button type="button" data-mode="texture">texture</button>'
    '<button type="button" data-mode="shape">shape</button>'
    '<button type="button" data-mode="normals">normals</button></figcaption>'
    f'<script type="application/json">{json.dumps(content)}</script></figure>'
  )


def _base64(array, kind):
  return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode('ascii')


class _Shown(NamedTuple):
  """What the page shows large: the picture and the mesh, and how far it may be turned (degrees)."""

  picture: np.ndarray
  mesh: Mesh
  yaw: float


def _read_shown(folder) -> _Shown:
  """The picture and its mesh: files of their own, or what the factors tell of them."""
  path = folder / 'factors.npz'
  try:
    # numpy leaves a damaged archive open where it was given its name.
    with open(path, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
      camera = Camera(*(float(number) for number in arrays['camera']))
      depth, mask = arrays['canonical_depth'], arrays['mask'][..., 0]
      texture, picture = (image_files.to_uint8(arrays[name]) for name in ('texture', 'image'))
      yaw = float(arrays['turned'][0]) if 'turned' in arrays else 180.0
    if (folder / 'picture.png').exists():
      path = folder / 'picture.png'
      picture = _read_picture(path)
    path = folder / 'mesh.glb'
    if path.exists():
      return _Shown(picture, _read_mesh(path), yaw)
  except Exception as error:  # zipfile, zlib, trimesh and PIL fail in many ways on damaged files
    raise ArtefactError(f'cannot read {path}: {error}') from error
  return _Shown(picture, mesh_from_depth(depth, mask, texture, camera), yaw)


def _read_picture(path):
  with Image.open(path) as picture:
    picture = picture.convert('RGB')
    picture.thumbnail((_TEXTURE, _TEXTURE))
    return np.asarray(picture)


def _read_mesh(path) -> Mesh:
  model = trimesh.load(path, force='mesh', process=False)
  texture = model.visual.material.baseColorTexture.convert('RGB')
  texture.thumbnail((_TEXTURE, _TEXTURE))
  normals = np.asarray(model.vertex_normals, np.float32)
  uv = np.asarray(model.visual.uv, np.float32)
  vertices = np.asarray(model.vertices, np.float32)
  return Mesh(vertices, normals, uv, np.asarray(model.faces, np.int32), np.asarray(texture))
