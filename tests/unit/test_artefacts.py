"""Results of one picture: geometry of the frames, files that are whole, meshes that load back."""

import errno
import json
import os
import pathlib
import subprocess
from functools import partial

import imageio_ffmpeg
import jax
import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy import ndimage

from gan2shape_jax import artefacts
from gan2shape_jax.artefacts import image_files, results, videos, views
from gan2shape_jax.errors import ArtefactError
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.renderer import Camera, render_texture
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.statistics import mean_and_deviation

SIZE = 32
CAMERA = Camera(10.0, 1.0)


def make_factors(size=SIZE):
  """A ball before a wall, striped, lit from the front."""
  at = np.linspace(-1, 1, size)
  u, v = np.meshgrid(at, at)
  height = np.sqrt(np.clip(0.49 - u**2 - v**2, 0, None))
  depth = (1.04 - 0.1 * height).astype(np.float32)
  mask = (u**2 + v**2 < 0.49).astype(np.float32)[..., None]
  albedo = np.stack([np.sin(6 * u), np.cos(5 * v), u], axis=-1).astype(np.float32)
  view = np.array([0.05, 0.2, 0, 0.002, 0, 0], np.float32)
  light = np.array([0, -0.2, 0.1, 0.2], np.float32)
  return Factors(depth, albedo, view, light, mask)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  folder = tmp_path_factory.mktemp('results') / 'ball'
  factors = make_factors()
  path = artefacts.rotation_path(60, 15)
  gan = artefacts.render_views(factors, CAMERA, path.views, SIZE).texture
  result = artefacts.result_from_factors(
    'ball',
    factors.albedo,
    factors,
    CAMERA,
    latent=np.arange(8.0),
    metrics={'side': np.float32(0.5), 'mad': float('nan')},
    gan_rotate=gan,
    gan_relight=gan[:8],
    gan_relight_grid=gan[:20],
  )
  artefacts.write_results(folder, result, camera=CAMERA, max_yaw=60, max_pitch=15)
  return folder, result


def test_every_file_is_there(written):
  folder, _ = written
  stems = ['rotate_3d', 'rotate_3d_object', 'rotate_gan', 'relight_3d', 'relight_gan']
  moving = [f'{stem}.{ending}' for stem in stems for ending in ('mp4', 'gif')]
  sheets = [
    'picture.png',
    'sheet.png',
    'views.png',
    'gan_views.png',
    'relight.png',
    'gan_relight.png',
  ]
  meshes = ['mesh.glb', 'mesh.obj', 'mesh.mtl', 'mesh.png']
  expected = {'factors.npz', 'metrics.json', *moving, *sheets, *meshes}
  assert {entry.name for entry in folder.iterdir()} == expected


def test_large_collections_can_do_without_pictures(written, tmp_path):
  artefacts.write_results(
    tmp_path, written[1], camera=CAMERA, make_sheets=False, make_videos=False, make_mesh=False,
    max_yaw=60, max_pitch=15,
  )  # fmt: skip
  assert {entry.name for entry in tmp_path.iterdir()} == {'factors.npz', 'metrics.json'}
  assert (tmp_path / 'factors.npz').read_bytes() == (written[0] / 'factors.npz').read_bytes()


def test_arrays_and_metrics(written):
  folder, result = written
  with np.load(folder / 'factors.npz') as arrays:
    shapes = {name: arrays[name].shape for name in arrays}
    assert {str(arrays[name].dtype) for name in arrays} == {'float32'}
    np.testing.assert_array_equal(arrays['canonical_depth'], result.factors.depth)
    np.testing.assert_allclose(np.linalg.norm(arrays['normal'], axis=-1), 1, atol=1e-3)
  map3, flat = (SIZE, SIZE, 3), (SIZE, SIZE)
  assert shapes == {
    'canonical_depth': flat,
    'view_depth': flat,
    'valid': flat,
    'normal': map3,
    'albedo': map3,
    'texture': map3,
    'mask': (SIZE, SIZE, 1),
    'view': (6,),
    'light': (4,),
    'latent': (8,),
    'image': map3,
    'reconstruction': map3,
    'camera': (2,),
    'turned': (2,),
  }
  assert json.loads((folder / 'metrics.json').read_text()) == {'side': 0.5, 'mad': None}


def test_meshes_load_back_with_texture(written):
  folder, _ = written
  glb = trimesh.load(folder / 'mesh.glb', force='mesh')
  obj = trimesh.load(folder / 'mesh.obj', force='mesh', process=False)
  assert len(glb.faces) == len(obj.faces) > 5000
  assert glb.visual.uv.shape == (len(glb.vertices), 2)
  assert glb.visual.material.baseColorTexture.size == (192, 192)
  assert obj.visual.material.image.size == (192, 192)
  assert glb.extents.max() == pytest.approx(1, abs=1e-5)
  assert (glb.face_normals[:, 2] > 0).mean() > 0.99  # towards the viewer
  np.testing.assert_allclose(np.linalg.norm(glb.vertex_normals, axis=-1), 1, atol=1e-4)
  # The ball bulges towards +z, and u runs to the right, v upwards.
  front = glb.vertices[np.argmax(glb.vertices[:, 2])]
  np.testing.assert_allclose(front[:2], 0, atol=0.05)
  assert np.corrcoef(glb.vertices[:, 0], glb.visual.uv[:, 0])[0, 1] > 0.99
  assert np.corrcoef(glb.vertices[:, 1], glb.visual.uv[:, 1])[0, 1] > 0.99


def test_videos_can_be_read(written):
  folder, _ = written
  path = artefacts.rotation_path(60, 15)
  for stem in ('rotate_3d', 'rotate_gan'):
    reader = imageio_ffmpeg.get_ffmpeg_exe()
    command = [reader, '-v', 'error', '-i', str(folder / f'{stem}.mp4'), '-f', 'rawvideo', '-']
    done = subprocess.run([*command[:-1], '-pix_fmt', 'rgb24', '-'], capture_output=True)
    assert done.returncode == 0
    assert len(done.stdout) == len(path.order) * 256 * 256 * 3
    with Image.open(folder / f'{stem}.gif') as gif:
      assert gif.n_frames > len(path.order) // 4  # equal frames are joined
      assert gif.size == (256, 256)


def test_sheets_show_something(written):
  folder, _ = written
  for name in ('sheet', 'views', 'gan_views', 'relight', 'gan_relight'):
    with Image.open(folder / f'{name}.png') as sheet:
      assert np.asarray(sheet).std() > 20, name


def test_rendering_at_training_size_is_the_renderer(written):
  _, result = written
  factors = result.factors
  seen = artefacts.render_views(factors, CAMERA, factors.view[None], SIZE)
  render = jax.jit(partial(render_texture, camera=CAMERA, steps=96))
  expected = render(result.texture, factors.depth, factors.view)
  valid = np.asarray(expected.valid) > 0
  np.testing.assert_allclose(seen.depth[0][valid], expected.depth[valid], atol=2e-4)
  assert np.abs(seen.texture[0] - expected.image)[valid].mean() < 5e-3
  # Upsampled renderings agree with it too: corners stay aligned.
  fine = artefacts.render_views(factors, CAMERA, factors.view[None])
  at = np.linspace(0, fine.depth.shape[1] - 1, SIZE)
  depth = ndimage.map_coordinates(fine.depth[0], np.meshgrid(at, at, indexing='ij'), order=1)[valid]
  assert np.abs(depth - np.asarray(expected.depth)[valid]).mean() < 1e-3


def test_views_normals_turn_with_the_view():
  factors = make_factors()._replace(depth=np.full((SIZE, SIZE), 1.0, np.float32))
  view = np.array([[0, np.deg2rad(30), 0, 0, 0, 0]], np.float32)
  seen = artefacts.render_views(factors, CAMERA, view, SIZE)
  center = seen.normal[0, SIZE // 2, SIZE // 2]
  np.testing.assert_allclose(center, [0.5, 0, np.sqrt(0.75)], atol=1e-5)
  np.testing.assert_allclose(seen.canonical_normal[0, SIZE // 2, SIZE // 2], [0, 0, 1], atol=1e-5)


def test_a_second_picture_compiles_nothing():
  factors = make_factors()
  artefacts.result_from_factors('a', factors.albedo, factors, CAMERA)
  artefacts.render_views(factors, CAMERA, np.zeros((1, 6)), SIZE)
  counted = [views._render_view, views.surface_from_factors, results._shown]
  before = [function._cache_size() for function in counted]
  other = jax.tree.map(lambda leaf: leaf * 0.99, factors)
  artefacts.result_from_factors('b', factors.albedo, other, CAMERA)
  artefacts.render_views(other, CAMERA, np.ones((1, 6)) * 0.1, SIZE)
  assert [function._cache_size() for function in counted] == before


def test_paths():
  path = artefacts.rotation_path(70, 20)
  assert path.order[0] == path.yaws // 2
  assert set(path.order) == set(range(len(path.views)))
  steps = np.abs(np.diff(path.order[: np.argmax(path.order >= path.yaws)]))
  assert steps.max() == 1
  yaws, pitches = artefacts.sheet_indices(path)
  degrees = np.rad2deg(path.views)
  np.testing.assert_allclose(degrees[yaws, 1], np.linspace(-70, 70, 9), atol=1e-4)
  np.testing.assert_allclose(degrees[pitches, 0], np.linspace(-20, 20, 5), atol=1e-4)
  with pytest.raises(ValueError, match='odd'):
    artefacts.rotation_path(yaws=4)


def test_lights():
  light = np.array([0.2, -0.4, 0.3, 0.1])
  lights = artefacts.relight_lights(light, alpha=-0.6)
  assert lights.directions.shape == (20, 2)
  np.testing.assert_allclose(lights.directions[:5, 0], [-1.5, -0.7, 0, 0.7, 1.5], atol=1e-6)
  np.testing.assert_allclose(lights.directions[[0, 5, 10, 15], 1], [0, 0.6, 0, 0.6], atol=1e-6)
  np.testing.assert_allclose(lights.ambient[[0, 10]], [0.6 - 0.18, 0.6 - 0.36], atol=1e-6)
  np.testing.assert_allclose(lights.diffuse[[0, 10]], [0.3 + 0.3, 0.3 + 0.6], atol=1e-6)
  path = artefacts.light_path(light, frames=40)
  jump = np.linalg.norm(np.diff(path.directions, axis=0, append=path.directions[:1]), axis=-1)
  assert jump.max() < 0.3  # closed


def test_colours():
  ramp = image_files.colour_depth(np.linspace(1.1, 0.9, 50), 0.9, 1.1)
  lightness = ramp @ [0.2126, 0.7152, 0.0722]
  assert (np.diff(lightness) > 0).all()  # near is bright
  # A surface that faces right has an outward normal along +x, which is -x in the files.
  assert tuple(image_files.to_uint8(image_files.colour_normals([-1.0, 0, 0]))) == (255, 128, 128)
  assert image_files.to_uint8(np.array([np.nan, 5, -5])).tolist() == [128, 255, 0]
  assert image_files.depth_range(np.linspace(0, 1, 101), np.zeros(101)) == pytest.approx(
    (0.01, 0.99)
  )


def test_gan_frames_must_match_the_path(tmp_path, written):
  result = written[1]._replace(gan_rotate=np.zeros((3, 8, 8, 3)))
  with pytest.raises(ValueError, match='3 frames'):
    artefacts.write_results(tmp_path, result, camera=CAMERA)


def test_a_refusing_system_is_explained(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  frames = [np.zeros((256, 256, 3), np.uint8)] * 2
  attempts = [
    lambda folder: atomic_files.write_json(folder / 'a.json', {}),
    lambda folder: atomic_files.write_arrays(folder / 'a.npz', {'x': np.zeros(3)}),
    lambda folder: image_files.write_png(folder / 'a.png', frames[0]),
    lambda folder: videos.write_mp4(folder / 'a.mp4', frames),
    lambda folder: videos.write_gif(folder / 'a.gif', frames),
  ]
  for attempt in attempts:
    with pytest.raises(ArtefactError, match=r'cannot write .*file.a\.') as caught:
      attempt(tmp_path / 'file')
    assert '\n' not in str(caught.value)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ValueError)

  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, 'No space left on device')

  kept = tmp_path / 'a.json'
  atomic_files.write_json(kept, {'old': 1})
  monkeypatch.setattr(os, 'replace', full)
  with pytest.raises(ArtefactError, match=r'a\.json: No space left'):
    atomic_files.write_json(kept, {'new': 2})
  monkeypatch.undo()
  assert json.loads(kept.read_text()) == {'old': 1}
  assert not list(tmp_path.glob('.partial*'))


def test_a_full_disk_stops_the_video_encoder(tmp_path, monkeypatch):
  monkeypatch.setattr(atomic_files.secrets, 'token_hex', lambda count: 'full')
  target = tmp_path / '.partial-full-a.mp4'
  if not pathlib.Path('/dev/full').exists():
    pytest.skip('this system has no /dev/full')
  target.symlink_to('/dev/full')
  with pytest.raises(ArtefactError, match=r'cannot write .*a\.mp4: the video encoder'):
    videos.write_mp4(tmp_path / 'a.mp4', [np.zeros((256, 256, 3), np.uint8)] * 30)
  assert not list(tmp_path.iterdir())


def test_leftovers_are_swept(tmp_path):
  (tmp_path / '.partial-0123-sheet.png').write_text('half')
  (tmp_path / 'sheet.png').write_text('whole')
  atomic_files.sweep(tmp_path)
  assert [entry.name for entry in tmp_path.iterdir()] == ['sheet.png']


def test_statistics():
  values = [1.0, None, 3.0, float('nan'), 'x', True, float('inf')]
  assert mean_and_deviation(values) == (2.0, 1.0, 2)
  assert mean_and_deviation([])[2] == 0
