"""The canonical depth map as a textured mesh: cut out, in a y-up frame, for viewers and modellers.

Camera frame: x right, y down, z away. Mesh frame: x right, y up, z towards the viewer (glTF's),
centred on its bounding box, whose longest side is 1.
"""

import pathlib
from typing import NamedTuple

import numpy as np
import trimesh
from PIL import Image
from scipy import ndimage

from gan2shape_jax.artefacts.object_mask import as_one_piece
from gan2shape_jax.renderer import Camera
from gan2shape_jax.storage.atomic_files import whole_file, write_bytes

_STEEPEST = 3.0  # depth from pixel to pixel, in their widths, along rows and columns
_CUT = (0.15, 0.85)  # where between two pixels the rim may run


class Mesh(NamedTuple):
  """A textured triangle mesh.

  Attributes:
    vertices: [n, 3] float32, y up, z towards the viewer, longest side 1.
    normals: [n, 3] float32 unit vertex normals, outwards.
    uv: [n, 2] float32 texture coordinates in [0, 1], (0, 0) at the texture's bottom left.
    faces: [m, 3] int32 vertices of the triangles, counter-clockwise seen from outside.
    texture: [height, width, 3] uint8.
  """

  vertices: np.ndarray
  normals: np.ndarray
  uv: np.ndarray
  faces: np.ndarray
  texture: np.ndarray


def mesh_from_depth(depth, mask, texture, camera: Camera) -> Mesh:
  """Makes a mesh of the object in a depth map: one piece without holes.

  Cells of four pixels are two triangles each; those at the rim are cut where the mask passes 0.5
  (marching triangles), so that the rim runs between pixels. No step of depth from pixel to pixel
  exceeds three pixel widths: what lies behind an edge is drawn forward.

  Args:
    depth: [size, size] camera units.
    mask: [size, size] at least 0.5 on the object; where it leaves nothing, the whole map is taken.
    texture: [height, width, 3] uint8, its corner pixels over the depth map's corner pixels.
    camera: camera of the depth map.

  Returns:
    A `Mesh` of the largest piece.
  """
  depth, mask = np.asarray(depth, np.float32), np.asarray(mask, np.float32)
  size = len(depth)
  above = as_one_piece(mask) - np.float32(0.5)
  if not (above >= 0).any():
    above = np.ones_like(depth)
  inside = above >= 0
  # Beyond the rim the object's depth goes on, or cut triangles would reach for what lies behind.
  nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
  beyond = ndimage.gaussian_filter(depth[tuple(nearest)], 1.5, mode='nearest')
  depth = np.where(inside, depth, beyond)
  pixel = 2 * np.tan(np.deg2rad(camera.fov) / 2) * depth.mean() / (size - 1)
  depth = _without_walls(depth, _STEEPEST * pixel)

  start, end, part, faces = _cut_triangles(above)
  between = lambda values: values[start] * (1 - part) + values[end] * part
  rows, columns = map(between, np.divmod(np.arange(size * size), size))
  z = between(depth.ravel())
  # The inverse of the focal length in pixels, as the camera has it.
  scale = 2 * np.tan(np.deg2rad(camera.fov) / 2) / (size - 1)
  middle = (size - 1) / 2
  vertices = np.stack([(columns - middle) * scale * z, (middle - rows) * scale * z, -z], axis=-1)
  low, high = vertices.min(axis=0), vertices.max(axis=0)
  vertices = (vertices - (low + high) / 2) / max(float((high - low).max()), 1e-9)
  height, width = texture.shape[:2]
  u = (columns / (size - 1) * (width - 1) + 0.5) / width
  v = 1 - (rows / (size - 1) * (height - 1) + 0.5) / height
  uv = np.stack([u, v], axis=-1).astype(np.float32)
  vertices = vertices.astype(np.float32)
  return Mesh(vertices, _smooth_normals(vertices, faces), uv, faces, texture)


def _without_walls(depth, steepest):
  """The nearest surface in front of a depth map that no step between pixels exceeds."""
  while True:
    limited = depth
    for axis in (0, 1):
      padded = np.pad(limited, [(1, 1) if k == axis else (0, 0) for k in (0, 1)], mode='edge')
      before, after = (padded.take(range(k, k + len(depth)), axis) for k in (0, 2))
      limited = np.minimum(limited, np.minimum(before, after) + np.float32(steepest))
    if (limited >= depth - 1e-7).all():
      return limited
    depth = limited


def _cut_triangles(above):
  """The triangles of a grid where a function on it is positive, cut along its zeros.

  Args:
    above: [size, size], at least 0 inside.

  Returns:
    start [n], end [n] and part [n]: vertex k lies between two pixels of the flattened grid, `part`
    of the way; and faces [m, 3] int32 of these vertices.
  """
  size = len(above)
  inside = above >= 0
  index = np.arange(size * size).reshape(size, size)
  here, right = index[:-1, :-1], index[:-1, 1:]
  below, both = index[1:, :-1], index[1:, 1:]
  triangles = np.concatenate(
    [np.stack([c.ravel() for c in corners], -1) for corners in
     ((here, below, right), (right, below, both))]
  )  # fmt: skip
  within = inside.ravel()[triangles]
  triangles, within = triangles[within.any(axis=1)], within[within.any(axis=1)]
  # Turned until the corner that differs from the others comes first.
  count = within.sum(axis=1)
  odd = np.where(count == 1, within.argmax(axis=1), np.where(count == 2, within.argmin(axis=1), 0))
  turn = (odd[:, None] + np.arange(3)) % 3
  a, b, c = np.take_along_axis(triangles, turn, axis=1).T

  one, two = count == 1, count == 2
  cut = one | two
  # A crossing is named by its pixel inside and its pixel outside.
  ends = np.concatenate([np.stack([a[cut], b[cut]], -1), np.stack([a[cut], c[cut]], -1)])
  swapped = ~inside.ravel()[ends[:, 0]]
  ends[swapped] = ends[swapped, ::-1]
  pairs, crossing = np.unique(ends, axis=0, return_inverse=True)
  crossing = crossing.reshape(2, -1) + size * size
  ab, ac = np.zeros_like(a), np.zeros_like(a)
  ab[cut], ac[cut] = crossing
  faces = np.concatenate(
    [
      np.stack([a, b, c], -1)[count == 3],
      np.stack([a, ab, ac], -1)[one],
      np.stack([ab, b, c], -1)[two],
      np.stack([ab, c, ac], -1)[two],
    ]
  )
  first, second = above.ravel()[pairs].T
  # Not quite at the pixels: no triangle is a needle.
  part = np.clip(first / np.maximum(first - second, 1e-9), *_CUT)
  pixels = np.arange(size * size)
  used, faces = np.unique(faces, return_inverse=True)
  start, end = (np.concatenate([pixels, ends])[used] for ends in pairs.T)
  part = np.concatenate([np.zeros(size * size), part])[used]
  return start, end, part, faces.reshape(-1, 3).astype(np.int32)


def _smooth_normals(vertices, faces):
  # Cross products are as long as twice the area: large triangles weigh more.
  a, b, c = (vertices[faces[:, k]] for k in range(3))
  across = np.cross(b - a, c - a)
  normals = np.zeros_like(vertices)
  for k in range(3):
    np.add.at(normals, faces[:, k], across)
  length = np.linalg.norm(normals, axis=-1, keepdims=True)
  flat = np.broadcast_to(np.array([0, 0, 1], np.float32), normals.shape)
  return np.where(length > 0, normals / np.maximum(length, 1e-30), flat).astype(np.float32)


def to_trimesh(mesh: Mesh) -> trimesh.Trimesh:
  """The mesh as trimesh has it, with a matt material that carries the texture."""
  material = trimesh.visual.material.PBRMaterial(
    name='mesh',
    baseColorTexture=Image.fromarray(mesh.texture),
    metallicFactor=0.0,
    roughnessFactor=1.0,
    doubleSided=True,
  )
  return trimesh.Trimesh(
    mesh.vertices,
    mesh.faces,
    vertex_normals=mesh.normals,
    visual=trimesh.visual.TextureVisuals(uv=mesh.uv, material=material),
    process=False,
  )


def write_mesh(folder, mesh: Mesh, *, stem: str = 'mesh') -> None:
  """Writes `<stem>.glb`, and `<stem>.obj` with `<stem>.mtl` and `<stem>.png` beside it.

  Args:
    folder: where to.
    mesh: the mesh.
    stem: the files' name.

  Raises:
    ArtefactError: a file could not be written.
  """
  folder = pathlib.Path(folder)
  model = to_trimesh(mesh)
  write_bytes(folder / f'{stem}.glb', model.export(file_type='glb', include_normals=True))
  with whole_file(folder / f'{stem}.png') as partial:
    Image.fromarray(mesh.texture).save(partial, 'PNG')
  write_bytes(folder / f'{stem}.mtl', _MATERIAL.format(stem=stem).encode())
  write_bytes(folder / f'{stem}.obj', _wavefront(mesh, stem).encode())


_MATERIAL = 'newmtl {stem}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {stem}.png\n'


def _wavefront(mesh, stem):
  lines = [f'mtllib {stem}.mtl', f'usemtl {stem}']
  lines += [f'v {x:.6f} {y:.6f} {z:.6f}' for x, y, z in mesh.vertices.tolist()]
  lines += [f'vt {u:.6f} {v:.6f}' for u, v in mesh.uv.tolist()]
  lines += [f'vn {x:.4f} {y:.4f} {z:.4f}' for x, y, z in mesh.normals.tolist()]
  lines += [f'f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}' for a, b, c in (mesh.faces + 1).tolist()]
  return '\n'.join(lines) + '\n'
