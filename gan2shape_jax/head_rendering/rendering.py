"""A mesh with colours at its vertices, seen by the camera: rays cast by Embree.

Four rays a pixel make the image, one through its centre makes everything else. The conventions are
the renderer's: pixel (0, 0) is the centre of the top-left one, depth is z, normals point away from
the camera (z positive), light directions likewise.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy import sparse

from gan2shape_jax.errors import DataError
from gan2shape_jax.head_rendering.scene import CAMERA, background_at

_SUBPIXELS_U = np.array([-0.25, 0.25, -0.25, 0.25])[:, None, None]
_SUBPIXELS_V = np.array([-0.25, -0.25, 0.25, 0.25])[:, None, None]


class Truth(NamedTuple):
  """What a picture shows, through the pixels' centres.

  Attributes:
    depth: float64 [size, size] z in camera units, infinite where nothing is seen.
    normal: float32 [size, size, 3], unit; (0, 0, 1) where nothing is seen.
    albedo: float32 [size, size, 3] in [0, 1], black where nothing is seen.
    mask: bool [size, size] where the mesh is seen.
    face: int32 [size, size] the triangle seen, -1 where there is none.
  """

  depth: np.ndarray
  normal: np.ndarray
  albedo: np.ndarray
  mask: np.ndarray
  face: np.ndarray


class Surface:
  """A mesh before the camera, ready for rays."""

  def __init__(self, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray):
    """Prepares the mesh.

    Args:
      vertices: [n, 3] camera units, in the view's frame.
      faces: int [f, 3], outward by the right-hand rule in the camera's axes.
      colours: [n, 3] albedo in [0, 1].

    Raises:
      DataError: embreex is not installed.
    """
    scene, device, mesh = _embree()
    self._faces = np.ascontiguousarray(faces, np.int32)
    normals = vertex_normals(vertices, self._faces)
    self._attributes = np.concatenate([normals, colours], 1)
    self._vertices = vertices
    self._scene = scene.EmbreeScene(device)
    mesh.TriangleMesh(self._scene, np.ascontiguousarray(vertices, np.float32), self._faces)

  def truth(self, size: int) -> Truth:
    """Depth, normals, albedo and masks of a picture `size` pixels wide and high."""
    centers = np.arange(size, dtype=np.float64)
    hit, face, depth, attributes = self._cast(size, *np.meshgrid(centers, centers))
    maps = np.zeros((size, size, 6), np.float32)
    maps[..., 2] = 1
    maps[hit] = attributes
    return Truth(depth, maps[..., :3], maps[..., 3:], hit, face)

  def image(self, size: int, light: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The picture: albedo * (ambient + diffuse * max(0, n . d)), four rays a pixel averaged.

    Args:
      size: width and height in pixels.
      light: [4]: ambient, diffuse, dx, dy.
      background: [2, 2, 3] colours of the corners in [0, 1].

    Returns:
      uint8 [size, size, 3].
    """
    ambient, diffuse, *slopes = light
    direction = np.array([*slopes, 1.0])
    direction /= np.linalg.norm(direction)
    u, v = np.meshgrid(np.arange(size, dtype=np.float64), np.arange(size, dtype=np.float64))
    u, v = u + _SUBPIXELS_U, v + _SUBPIXELS_V
    hit, _, _, attributes = self._cast(size, u, v)
    colors = background_at(background, (u + 0.5) / size, (v + 0.5) / size)
    cosine = sum(attributes[:, k] * direction[k] for k in range(3))
    shading = ambient + diffuse * np.maximum(cosine, 0)
    colors[hit] = attributes[:, 3:] * shading[:, None]
    return np.round(np.clip(colors, 0, 1).mean(0) * 255).astype(np.uint8)

  def _cast(self, size, u, v):
    """Rays through pixels (u, v), arrays of one shape.

    Returns:
      hit: bool, which rays meet the mesh.
      face: int32, the triangle of each, -1 where there is none.
      depth: float64, infinite where there is none.
      attributes: [hits, 6], unit normals and albedo where rays meet the mesh.
    """
    focal = (size - 1) / 2 / np.tan(np.radians(CAMERA.fov) / 2)
    rays = np.ones((*u.shape, 3), np.float32)
    rays[..., 0], rays[..., 1] = (u - (size - 1) / 2) / focal, (v - (size - 1) / 2) / focal
    rays = rays.reshape(-1, 3)
    found = self._scene.run(np.zeros_like(rays), rays, output=True)
    face = found['primID'].astype(np.int32).reshape(u.shape)
    hit = face >= 0
    here = hit.ravel()
    corners = self._faces[face[hit]]
    second, third = (found[name][here, None].astype(np.float64) for name in ('u', 'v'))
    first = 1 - second - third
    a, b, c = corners.T
    depth = np.full(u.shape, np.inf)
    z = self._vertices[:, 2:]
    depth[hit] = (first * z[a] + second * z[b] + third * z[c])[:, 0]
    values = self._attributes
    attributes = first * values[a] + second * values[b] + third * values[c]
    length = np.sqrt((attributes[:, :3] ** 2).sum(1, keepdims=True))
    attributes[:, :3] /= np.maximum(length, 1e-12)
    return hit, face, depth, attributes


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Unit normals at vertices, away from the camera: the mean of the triangles', by area.

  Args:
    vertices: [n, 3].
    faces: int [f, 3], outward by the right-hand rule.

  Returns:
    float64 [n, 3], inward; (0, 0, 0) where a vertex is in no triangle.
  """
  a, b, c = (vertices[faces[:, k]] for k in range(3))
  inward = np.cross(c - a, b - a)
  normals = _incidence(faces.tobytes(), len(faces), len(vertices)) @ inward
  length = np.sqrt((normals**2).sum(1, keepdims=True))
  return normals / np.maximum(length, 1e-30)


@functools.lru_cache(maxsize=4)
def _incidence(faces, count, vertices):
  """Sparse [vertices, count]: which triangles meet in a vertex."""
  index = np.frombuffer(faces, np.int32)
  column = np.repeat(np.arange(count), 3)
  return sparse.csr_matrix((np.ones(len(index)), (index, column)), shape=(vertices, count))


@functools.cache
def _embree():
  """Embree's modules and one device for all scenes."""
  try:
    from embreex import mesh_construction, rtcore, rtcore_scene
  except ImportError:
    raise DataError("heads need the package embreex: pip install 'gan2shape_jax[heads]'") from None
  return rtcore_scene, rtcore.EmbreeDevice(), mesh_construction
