"""Meshes: one piece without holes whose rim runs between pixels, without walls and needles."""

import numpy as np
import pytest
from scipy import ndimage

from gan2shape_jax import artefacts
from gan2shape_jax.artefacts.mesh import to_trimesh
from gan2shape_jax.artefacts.results import mesh_from_surface
from gan2shape_jax.data import embedded_path, read_depth, read_image, read_mask
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.renderer import Camera

CAMERA = Camera(10.0, 1.0)
TEXTURE = np.zeros((40, 40, 3), np.uint8)


def disk(size, radius):
  """A disk with a rim of slope 1 a pixel: 0.5 at `radius` pixels from the middle."""
  at = np.arange(size) - (size - 1) / 2
  return np.clip(0.5 + radius - np.hypot(at[:, None], at[None]), 0, 1)


@pytest.mark.parametrize('radius', [10.0, 10.3, 10.5])
def test_the_rim_of_a_disk_runs_between_pixels(radius):
  mesh = artefacts.mesh_from_depth(np.ones((32, 32)), disk(32, radius), TEXTURE, CAMERA)
  model = to_trimesh(mesh)
  assert model.euler_number == 1
  pixels = np.ptp(mesh.uv[:, 0]) * 40 / 39 * 31  # the width of the longest side, which is 1
  assert model.area * pixels**2 == pytest.approx(np.pi * radius**2, rel=0.01)
  edges, count = np.unique(model.edges_sorted, axis=0, return_counts=True)
  rim = mesh.vertices[np.unique(edges[count == 1]), :2] * pixels
  np.testing.assert_allclose(np.hypot(*rim.T), radius, atol=0.25)


def test_noise_becomes_one_piece_without_holes():
  rng = np.random.default_rng(0)
  for _ in range(5):
    mask = ndimage.gaussian_filter(rng.normal(size=(60, 60)), 2) * 4 + 0.55
    mesh = artefacts.mesh_from_depth(np.ones((60, 60)), mask, TEXTURE, CAMERA)
    model = to_trimesh(mesh)
    assert (model.euler_number, model.body_count) == (1, 1)
    assert model.is_winding_consistent
    # No needles: the shortest edge is a part of a pixel's side.
    pixel = np.median(model.edges_unique_length)
    assert model.edges_unique_length.min() > 0.1 * pixel


def test_the_largest_of_two_pieces_stays_and_a_hole_is_filled():
  mask = np.zeros((30, 30))
  mask[4:26, 2:8] = 1
  mask[4:26, 12:28] = 1
  mask[10:14, 16:20] = 0
  mesh = artefacts.mesh_from_depth(np.ones((30, 30)), mask, TEXTURE, CAMERA)
  model = to_trimesh(mesh)
  assert model.euler_number == 1
  width, height, _ = model.extents
  assert width / height == pytest.approx(16 / 22, rel=0.03)
  assert model.area == pytest.approx(width * height, rel=0.02)


def test_an_empty_mask_gives_the_whole_map():
  mesh = artefacts.mesh_from_depth(np.ones((20, 20)), np.zeros((20, 20)), TEXTURE, CAMERA)
  assert len(mesh.faces) == 2 * 19 * 19
  np.testing.assert_allclose(mesh.normals, np.tile([0, 0, 1], (400, 1)), atol=1e-6)


def test_jumps_become_slopes_behind_the_nearer_side():
  depth = np.full((40, 40), 1.0)
  depth[:, 20:] = 1.02
  mesh = artefacts.mesh_from_depth(depth, np.ones((40, 40)), TEXTURE, CAMERA)
  model = to_trimesh(mesh)
  assert model.euler_number == 1
  assert model.face_normals[:, 2].min() > 0.2  # three pixel widths a pixel, with perspective
  columns = np.round(mesh.uv[:, 0] * 40 - 0.5)
  z = mesh.vertices[:, 2]
  assert np.ptp(z[columns < 20]) < 1e-6
  assert z[columns < 20].min() > z[columns >= 20].max()


def head(name):
  """An embedded head whose depth is the true one, with its steep outline."""
  folder = embedded_path('heads')
  depth = read_depth(folder / 'depth' / f'{name}.png', 64)
  mask, image = read_mask(folder / 'mask' / f'{name}.png', 64), read_image(
    folder / 'image' / f'{name}.png', 64
  )  # fmt: skip
  light = np.array([1.0, -1.0, 0, 0], np.float32)
  return Factors(depth, image, np.zeros(6, np.float32), light, mask)


@pytest.mark.parametrize('name', ['000', '001', '002', '008'])
def test_heads_are_one_piece_without_holes_walls_and_spikes(name):
  factors = head(name)
  result = artefacts.result_from_factors(
    name, factors.albedo, factors, CAMERA, mask=factors.mask, photo=factors.albedo
  )
  mesh = mesh_from_surface(artefacts.result_surface(result, CAMERA), CAMERA)
  model = to_trimesh(mesh)
  assert (model.euler_number, model.body_count) == (1, 1)
  assert model.face_normals[:, 2].min() > 0.12  # 83 degrees
  pixel = np.median(model.edges_unique_length)
  assert model.edges_unique_length.max() < 8 * pixel
  # Nothing of what lies behind the head hangs on its rim.
  height = np.ptp(mesh.uv[:, 1]) * 2 * np.tan(np.deg2rad(5))
  inside = factors.mask[..., 0] >= 0.5
  assert model.extents[2] * height < np.ptp(factors.depth[inside]) + 0.005
  # Nearly all of the mask is there.
  covered = result.factors.mask[..., 0] >= 0.5
  given = factors.mask[..., 0] >= 0.5
  assert (covered & given).sum() / (covered | given).sum() > 0.87
