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

from gan2shape_jax.artefacts.files import whole_file, write_bytes
from gan2shape_jax.renderer import Camera, unproject

_STEEPEST = 8.0  # depth steps of a cell beyond this many pixel widths are jumps


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
  """Makes a mesh of the object in a depth map.

  Cells of four pixels become two triangles where all four lie on the object and none is far behind
  another; of several pieces the largest stays.

  Args:
    depth: [size, size] camera units.
    mask: [size, size] at least 0.5 on the object; where it leaves nothing, the whole map is taken.
    texture: [height, width, 3] uint8, its corner pixels over the depth map's corner pixels.
    camera: camera of the depth map.

  Returns:
    A `Mesh`.
  """
  depth = np.asarray(depth, np.float32)
  points = np.asarray(unproject(depth, camera))
  pixel = 2 * np.tan(np.deg2rad(camera.fov) / 2) * depth.mean() / (len(depth) - 1)
  corners = np.stack([depth[:-1, :-1], depth[:-1, 1:], depth[1:, :-1], depth[1:, 1:]])
  smooth = np.ptp(corners, axis=0) < _STEEPEST * pixel
  inside = np.asarray(mask) >= 0.5
  cells = inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:] & smooth
  cells = ndimage.binary_opening(cells, np.ones((2, 2)))  # no spikes a single cell wide at the rim
  cells = _largest_piece(cells) if cells.any() else np.ones_like(cells)

  size = len(depth)
  rows, columns = np.nonzero(cells)
  here = rows * size + columns
  upper = np.stack([here, here + size, here + 1], axis=-1)
  lower = np.stack([here + 1, here + size, here + size + 1], axis=-1)
  faces = np.stack([upper, lower], axis=1).reshape(-1, 3)
  used, faces = np.unique(faces, return_inverse=True)
  faces = faces.reshape(-1, 3).astype(np.int32)

  vertices = points.reshape(-1, 3)[used] * np.array([1, -1, -1], np.float32)
  low, high = vertices.min(axis=0), vertices.max(axis=0)
  vertices = (vertices - (low + high) / 2) / max(float((high - low).max()), 1e-9)
  height, width = texture.shape[:2]
  u = ((used % size) / (size - 1) * (width - 1) + 0.5) / width
  v = 1 - ((used // size) / (size - 1) * (height - 1) + 0.5) / height
  uv = np.stack([u, v], axis=-1).astype(np.float32)
  vertices = vertices.astype(np.float32)
  return Mesh(vertices, _smooth_normals(vertices, faces), uv, faces, texture)


def _largest_piece(cells):
  labels, count = ndimage.label(cells)
  if count < 2:
    return cells
  return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


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
