"""Rendered heads: rays against closed forms and our renderer, sets on disk, the real model."""

import importlib.util
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy import ndimage, sparse

from gan2shape_jax import data, head_rendering, renderer
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import DataError
from gan2shape_jax.head_rendering import (
  colours,
  model_files,
  parametric_heads,
  rendering,
  scene,
  shapes,
)
from gan2shape_jax.head_rendering.parametric_heads import HeadMaker, Settings
from tests.support.command import ROOT

SIZE = 48
WITH_MODEL = pytest.mark.skipif(
  importlib.util.find_spec('anny') is None, reason="needs the extra 'heads'"
)
CAMERA = scene.CAMERA


def ball(center=(0, 0, 1.03), semi_axes=(0.06, 0.075, 0.07)):
  """An ellipsoid before the camera: vertices, faces."""
  sphere = trimesh.creation.icosphere(subdivisions=5)
  return sphere.vertices * semi_axes + center, sphere.faces.astype(np.int32)


def grey(vertices, value=0.5):
  return np.full((len(vertices), 3), value)


def rays(size):
  focal = (size - 1) / 2 / np.tan(np.radians(CAMERA.fov) / 2)
  v, u = np.indices((size, size)) - (size - 1) / 2
  return np.stack([u / focal, v / focal, np.ones((size, size))], -1)


def inside(mask, pixels=2):
  return ndimage.binary_erosion(mask, iterations=pixels)


@pytest.fixture(scope='module')
def model():
  """A sphere with two eyes, two local targets of which one has sides, and one expression."""
  sphere = trimesh.creation.icosphere(subdivisions=3)
  body = sphere.vertices * (0.8, 1.2, 1.0) + (0, -7.28, -0.6)
  eye = trimesh.creation.icosphere(subdivisions=1).vertices * 0.14
  eyes = [eye + np.array([x, -7.28, -1.4]) for x in (0.31, -0.31)]
  template = np.concatenate([body, *eyes])
  rows = np.stack([len(body) + np.arange(len(eye)), len(body) + len(eye) + np.arange(len(eye))])
  names = ('nose/nose-volume-incr', 'ears/l-ear-wing-incr', 'ears/r-ear-wing-incr')
  labels = [f'local:{name}{sign}' for name in names for sign in '-+']
  labels = ['phenotype:universal-male-young-averagemuscle-averageweight', *labels]
  offsets = np.random.default_rng(0).normal(0, 0.02, (len(labels), len(template), 3))
  eye_sphere, eye_faces = shapes.eyeball()
  return shapes.HeadModel(
    template=template,
    basis=sparse.csr_matrix(offsets.reshape(len(labels), -1).T),
    labels=tuple(labels),
    faces=sphere.faces.astype(np.int32),
    eye_rows=rows,
    eye_faces=eye_faces,
    eye_sphere=eye_sphere,
    head=-body[sphere.faces, 1].mean(1) > 6.5,
    extent=np.nonzero(-body[:, 1] > 6.5)[0],
    regions={
      name: np.zeros(len(template), np.float32)
      for name in ('lips', 'ears', 'eyelids', 'mouth', 'tongue')
    },
  )


@pytest.fixture(scope='module')
def maker(model):
  return HeadMaker(model, Settings(size=16, seed=5))


def test_depth_and_normals_of_an_ellipsoid_are_the_closed_form():
  center, axes = np.array([0.01, -0.005, 1.03]), np.array([0.06, 0.075, 0.07])
  truth = rendering.Surface(*(mesh := ball(center, axes)), grey(mesh[0])).truth(SIZE)
  ray = rays(SIZE) / axes
  a, b = (ray**2).sum(-1), -(ray * (center / axes)).sum(-1)
  c = ((center / axes) ** 2).sum() - 1
  root = b * b - a * c
  hit = root > 0
  depth = (-b - np.sqrt(np.maximum(root, 0))) / a
  assert (truth.mask != hit).mean() < 0.005
  both = inside(hit & truth.mask)
  behind = (truth.depth - depth)[both]  # the mesh lies inside
  assert behind.min() > -1e-6
  assert behind.max() < 8e-5
  normal = (center - rays(SIZE) * depth[..., None]) / axes**2
  normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
  np.testing.assert_allclose(truth.normal[both], normal[both], atol=5e-3)
  assert np.isinf(truth.depth[~truth.mask]).all()
  assert (truth.face[~truth.mask] == -1).all()
  np.testing.assert_allclose(truth.albedo[truth.mask], 0.5, atol=1e-6)


def test_normals_have_the_sign_and_frame_of_the_renderers():
  vertices, faces = ball()
  truth = rendering.Surface(vertices, faces, grey(vertices)).truth(64)
  depth = np.where(truth.mask, truth.depth, 1.1)
  expected = np.asarray(renderer.normals_from_depth(jnp.asarray(depth), CAMERA))
  front = inside(truth.mask) & (truth.normal[..., 2] > 0.6)
  length = np.linalg.norm(expected, axis=-1)  # not quite 1: the renderer divides by a bit more
  cosine = ((expected * truth.normal).sum(-1) / length)[front]
  assert cosine.min() > 0.995
  assert np.median(cosine) > 0.9998


def test_the_shading_is_lambertian_with_the_renderers_light():
  vertices, faces = ball()
  albedo = np.array([0.8, 0.5, 0.3])
  surface = rendering.Surface(vertices, faces, np.tile(albedo, (len(vertices), 1)))
  light, black = np.array([0.4, 0.5, 0.6, -0.7]), np.zeros((2, 2, 3))
  image, truth = surface.image(SIZE, light, black), surface.truth(SIZE)
  direction = renderer.light_direction(*light[2:])
  expected = renderer.lambertian(
    truth.albedo * 2 - 1, truth.normal, renderer.Light(light[0], light[1], direction)
  )
  here = inside(truth.mask)
  difference = image / 127.5 - 1 - np.asarray(expected)
  assert np.abs(difference[here]).max() < 0.02
  assert np.abs(difference[here]).mean() < 0.004
  assert (image[~ndimage.binary_dilation(truth.mask, iterations=2)] == 0).all()
  edge = truth.mask ^ inside(truth.mask, 1)
  assert len(np.unique(image[edge])) > 20  # antialiased


def test_a_turned_mesh_is_what_the_renderer_shows_in_the_view():
  vertices, faces = ball(axes := (0, 0, 1.03), (0.07, 0.08, 0.05))
  assert axes[2] == scene.HEAD_DEPTH
  view = np.array([0.08, 0.25, -0.05, 0.004, -0.003, 0.0])
  canonical = rendering.Surface(vertices, faces, grey(vertices)).truth(SIZE)
  seen = rendering.Surface(scene.turn(vertices, view), faces, grey(vertices)).truth(SIZE)
  depth = np.where(canonical.mask, canonical.depth, 1.1)
  expected, _ = renderer.depth_in_view(jnp.asarray(depth), jnp.asarray(view), CAMERA)
  # What the canonical picture shows well, and neither its silhouette nor what that hides.
  clear = inside(seen.mask & (np.asarray(expected) < 1.02), 4)
  assert clear.sum() > 300
  difference = np.abs(np.asarray(expected) - seen.depth)[clear]
  assert np.median(difference) < 2e-4
  assert np.quantile(difference, 0.9) < 1e-3


def test_points_are_turned_as_the_renderer_turns_them():
  points = np.random.default_rng(0).normal((0, 0, 1), 0.1, (20, 3))
  view = np.array([0.1, -0.6, 0.05, 0.01, -0.02, 0.0])
  expected = np.asarray(renderer.move_points(points, view, CAMERA))
  np.testing.assert_allclose(scene.turn(points, view), expected, atol=1e-6)


def test_views_and_lights_have_the_stated_spreads():
  draws = [scene.draw_scene(np.random.default_rng(k)) for k in range(1500)]
  view, light = np.stack([d.view for d in draws]), np.stack([d.light for d in draws])
  degrees = np.degrees(view[:, :3])
  np.testing.assert_allclose(degrees.std(0), (7, 21.6, 2.5), rtol=0.08)
  assert np.abs(degrees[:, 1]).max() <= 55
  np.testing.assert_allclose(view[:, 3:5].mean(0), (0, 0.004), atol=3e-4)
  np.testing.assert_allclose(view[:, 3:5].std(0), 0.003, rtol=0.08)
  assert (view[:, 5] == 0).all()
  np.testing.assert_allclose(light.min(0), (0.35, 0.35, -1, -0.8), atol=0.01)
  np.testing.assert_allclose(light.max(0), (0.60, 0.70, 1, 0.3), atol=0.01)
  scaled = scene.draw_scene(np.random.default_rng(7), view_scale=0.6)
  np.testing.assert_allclose(scaled.view, draws[7].view * (0.6, 0.6, 1, 1, 1, 1))
  np.testing.assert_array_equal(scaled.light, draws[7].light)
  np.testing.assert_array_equal(scaled.background, draws[7].background)


def test_the_background_is_bilinear():
  corners = np.arange(12.0).reshape(2, 2, 3)
  np.testing.assert_allclose(scene.background_at(corners, np.array(0.0), np.array(1.0)), (6, 7, 8))
  np.testing.assert_allclose(
    scene.background_at(corners, np.array(0.5), np.array(0.5)), corners.mean((0, 1))
  )


def test_a_head_is_brought_to_its_size_and_place(model):
  placed = scene.place(model.template, model.extent)[model.extent]
  assert np.ptp(placed[:, 1]) == pytest.approx(0.16)
  np.testing.assert_allclose((placed.min(0) + placed.max(0)) / 2, (0, 0, 1.03), atol=1e-9)


def test_phenotype_weights_are_a_partition():
  weights = shapes.phenotype_weights(0.3, 0.6, 0.2, 0.9, (0.5, 0.2, 0.3))
  builds = [value for name, value in weights.items() if name.startswith('universal')]
  assert sum(builds) == pytest.approx(1)
  assert sum(weights.values()) == pytest.approx(2)
  assert min(weights.values()) >= 0
  only = shapes.phenotype_weights(1, 0.5, 0.5, 0.5, (0, 1, 0))
  assert {name for name, value in only.items() if value} == {
    'universal-male-young-averagemuscle-averageweight',
    'asian-male-young',
  }


def test_local_targets_are_normal_and_the_sides_nearly_alike(model):
  rows = [shapes.draw_person(model, np.random.default_rng(k)).coefficients for k in range(400)]
  value = dict(zip(model.labels, np.array(rows).T, strict=True))
  signed = lambda name: value[f'local:{name}+'] - value[f'local:{name}-']
  assert signed('nose/nose-volume-incr').std() == pytest.approx(0.4, rel=0.12)
  left, right = signed('ears/l-ear-wing-incr'), signed('ears/r-ear-wing-incr')
  assert 0.02 < (left - right).std() < 0.1
  assert np.corrcoef(left, right)[0, 1] > 0.95


def test_eyeballs_follow_the_deformation_and_the_gaze(model):
  person = shapes.draw_person(model, np.random.default_rng(0))
  still = person._replace(coefficients=np.zeros(len(model.labels)), gaze=np.zeros(2))
  count, one = len(model.template), len(model.eye_sphere)
  left = shapes.shape_vertices(model, still)[count : count + one]
  center = model.template[model.eye_rows[0]].mean(0)
  np.testing.assert_allclose(left[0], center - np.array([0, 0, 0.14]), atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(left - center, axis=1), 0.14, atol=1e-6)
  looking = shapes.shape_vertices(model, still._replace(gaze=np.array([0.2, 0.1])))
  toward = looking[count] - center
  assert toward[0] > 0.02
  assert toward[1] > 0.01
  faces = shapes.all_faces(model)[len(model.faces) :][: len(model.eye_faces)] - count
  outward = -np.cross(left[faces[:, 2]] - left[faces[:, 0]], left[faces[:, 1]] - left[faces[:, 0]])
  assert ((left[faces].mean(1) - center) * outward).sum(1).min() > 0


def test_eyes_have_a_pupil_an_iris_and_white(model):
  person = shapes.draw_person(model, np.random.default_rng(0))
  drawn = colours.draw_colouring(person, np.random.default_rng(1))
  color = colours.vertex_colours(model, drawn)
  assert color.shape == (len(model.template) + 2 * len(model.eye_sphere), 3)
  assert color.min() >= 0
  assert color.max() <= 1
  eye = color[len(model.template) :][: len(model.eye_sphere)]
  assert eye[0].max() < 0.05
  assert eye[-1].min() > 0.85
  angle = np.degrees(np.arccos(-model.eye_sphere[:, 2]))
  np.testing.assert_allclose(eye[np.abs(angle - 18).argmin()], np.clip(drawn.iris, 0, 1))


def test_a_head_depends_on_seed_and_number_alone(model, maker):
  again, other = HeadMaker(model, maker.settings), HeadMaker(model, Settings(size=16, seed=6))
  maker.make(0)
  first, second = maker.make(3), again.make(3)
  assert first.keys() == second.keys()
  for name in first:
    np.testing.assert_array_equal(first[name], second[name])
  assert (first['image'] != maker.make(4)['image']).any()
  assert (first['image'] != other.make(3)['image']).any()
  alone = HeadMaker(model, maker.settings._replace(images_only=True)).make(3)
  assert list(alone) == ['image']
  np.testing.assert_array_equal(alone['image'], first['image'])


def test_what_a_head_has_fits_together(maker):
  head = maker.make(0)
  seen = head['mask'] > 0
  assert 0.1 < seen.mean() < 0.9
  np.testing.assert_array_equal(seen, head['depth'] > 0)
  assert (head['head_mask'] <= head['mask']).all()
  assert (head['head_mask'] < head['mask']).any()
  lengths = np.linalg.norm(head['normal'].astype(float), axis=-1)
  np.testing.assert_allclose(lengths, 1, atol=2e-3)
  assert (head['normal'][~seen] == (0, 0, 1)).all()
  assert (head['albedo'][~seen] == 0).all()
  assert parametric_heads.encode_depth(np.array([0.8, 0.9, 1.0, 1.1, np.inf])).tolist() == [
    *(65535, 65535, 32768, 0, 0)
  ]


def read(paths, name):
  return np.concatenate([np.load(path)[name] for path in paths])


def test_a_head_turned_is_the_same_head_in_other_views(maker):
  before = maker.make(1)
  turned = maker.turned(1, 40)
  for name, array in before.items():  # nothing of the head itself depends on it
    np.testing.assert_array_equal(maker.make(1)[name], array)
  for name, array in maker.turned(1, 3).items():
    np.testing.assert_array_equal(array, turned[name][:3])
  assert (maker.turned(2, 1)['views'] != turned['views'][:1]).any()
  drawn = maker.draw(1)
  vertices, colours = maker._mesh(drawn)
  view, light = turned['views'][5], turned['lights'][5]
  surface = rendering.Surface(scene.turn(vertices, view), maker._faces, colours)
  shown = surface.image(16, light, drawn.scene.background)
  assert np.abs(np.float32(shown) - turned['images'][5]).max() <= 1  # views were rounded
  np.testing.assert_array_equal(turned['masks'][5] > 0, surface.truth(16).mask)
  narrow = maker.turned(1, 40, view_scale=0.5)['views']
  np.testing.assert_allclose(narrow[:, :2], turned['views'][:, :2] / 2, rtol=1e-6)
  np.testing.assert_array_equal(narrow[:, 2:], turned['views'][:, 2:])


def test_shards_are_the_same_however_they_are_made(maker, tmp_path):
  told = []
  whole = head_rendering.write_shards(maker, tmp_path / 'a.npz', num=7, start=2, tell=told.append)
  assert [path.name for path in whole] == ['a-00000-of-00001.npz']
  assert told == list(range(1, 8))
  options = {'num': 7, 'start': 2, 'shard_size': 3, 'processes': 2}
  parts = head_rendering.write_shards(maker, tmp_path / 'b', **options)
  assert [path.name for path in parts] == [f'b-0000{k}-of-00003.npz' for k in range(3)]
  with np.load(whole[0]) as archive:
    assert {'images', 'depths', 'normals', 'head_masks', 'views', 'lights'} <= set(archive.files)
    for name in set(archive.files) - {'settings'}:
      np.testing.assert_array_equal(archive[name], read(parts, name))
    assert archive['numbers'].tolist() == list(range(2, 9))
    assert json.loads(str(archive['settings']))['seed'] == 5
  np.testing.assert_array_equal(read(parts, 'images')[4], maker.make(6)['image'])


def test_shards_that_are_there_are_passed_over(maker, model, tmp_path):
  options = {'num': 5, 'shard_size': 2}
  paths = head_rendering.write_shards(maker, tmp_path / 'x', **options)
  content = [path.read_bytes() for path in paths]
  paths[1].unlink()
  (tmp_path / '.partial-0000-x-00001-of-00003.npz').write_bytes(b'half')
  kept = paths[0].stat().st_mtime_ns
  told = []
  head_rendering.write_shards(maker, tmp_path / 'x', **options, tell=told.append)
  assert told == [2, 3, 4, 5]
  assert paths[0].stat().st_mtime_ns == kept
  np.testing.assert_array_equal(read(paths, 'numbers'), range(5))
  assert len(content) == len(list(tmp_path.iterdir())) == 3
  other = HeadMaker(model, maker.settings._replace(seed=9))
  for maker_, changed in ((other, options), (maker, options | {'num': 6})):
    with pytest.raises(DataError, match='holds other heads'):
      head_rendering.write_shards(maker_, tmp_path / 'x', **changed)


def test_a_folder_is_a_data_set(maker, tmp_path):
  folder = tmp_path / 'set'
  head_rendering.write_folder(maker, folder, num=3, start=1)
  settings = get_default_config().data
  settings.images = str(folder)
  pictures = data.load_pictures(settings, 16)
  assert pictures.names == ['001', '002', '003']
  head = maker.make(2)
  picture = pictures[1]
  np.testing.assert_allclose(picture.image, head['image'] / 127.5 - 1, atol=1e-6)
  np.testing.assert_allclose(picture.depth, 1.1 - 0.2 * head['depth'] / 65535, atol=1e-6)
  np.testing.assert_array_equal(picture.mask[..., 0], head['mask'] / 255)
  with np.load(folder / 'truth.npz') as truth:
    np.testing.assert_array_equal(truth['view'][1], head['view'])
    np.testing.assert_array_equal(truth['light'][1], head['light'])
    assert truth['names'].tolist() == pictures.names
  assert {'normal', 'albedo', 'head_mask', 'heads.json'} < {path.name for path in folder.iterdir()}
  (folder / 'image' / '002.png').unlink()
  told = []
  head_rendering.write_folder(maker, folder, num=3, start=1, tell=told.append)
  assert told == [3]
  with pytest.raises(DataError, match='holds other heads'):
    head_rendering.write_folder(maker, folder, num=4)
  with pytest.raises(DataError, match='new or empty'):
    head_rendering.write_folder(maker, folder / 'image', num=1)


@pytest.mark.parametrize(
  ('changed', 'wanted'),
  [
    ({'size': 4}, 'size=4'),
    ({'seed': -1}, 'seed=-1'),
    ({'view_scale': float('nan')}, 'view_scale'),
  ],
)
def test_unfit_settings_are_told_in_one_line(model, changed, wanted):
  with pytest.raises(DataError, match=wanted) as caught:
    HeadMaker(model, Settings(**changed))
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'changed', [{'num': 0}, {'start': -1}, {'shard_size': 0}, {'processes': 0}]
)
def test_unfit_numbers_write_nothing(maker, tmp_path, changed):
  with pytest.raises(DataError, match='expected'):
    head_rendering.write_shards(maker, tmp_path / 'sub' / 'x', **{'num': 2} | changed)
  assert not list(tmp_path.iterdir())


def test_missing_packages_are_told_in_one_line(monkeypatch, maker):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(DataError, match=r"anny: pip install 'gan2shape_jax\[heads\]'"):
    head_rendering.load_model()
  rendering._embree.cache_clear()
  monkeypatch.setitem(sys.modules, 'embreex', None)
  with pytest.raises(DataError, match=r"embreex: pip install 'gan2shape_jax\[heads\]'"):
    maker.make(0)
  rendering._embree.cache_clear()


def test_damaged_model_files_are_told_in_one_line(tmp_path):
  path = tmp_path / 'a.target'
  path.write_text('# offsets\n3 1 2 3\n5 .5 -1 0\n')
  target = model_files.read_target(path)
  assert target.rows.tolist() == [3, 5]
  np.testing.assert_array_equal(target.offsets, [[1, -2, -3], [0.5, 1, 0]])
  path.write_text('')
  assert not len(model_files.read_target(path).rows)
  mesh = tmp_path / 'a.obj'
  mesh.write_text('v 0 1 2\n' * 4 + 'vt 0 0\n' * 4 + 'g body\nf 1/1 2/2 3/3 4/4\n')
  assert model_files.read_mesh(mesh).faces['body'].tolist() == [[0, 1, 2, 3]]
  for file, content, call in (
    (path, '3 1 2', model_files.read_target),
    (tmp_path / 'b.target.gz', 'no archive', model_files.read_target),
    (mesh, 'v 0 0 0\ng body\nf 1/1 1/1 1/1\n', model_files.read_mesh),
    (mesh, 'f 1 2 3 4', model_files.read_mesh),
  ):
    file.write_text(content)
    with pytest.raises(DataError, match=file.name) as caught:
      call(file)
    assert '\n' not in str(caught.value)
  with pytest.raises(DataError, match=r'gone\.obj'):
    model_files.read_mesh(tmp_path / 'gone.obj')


def test_the_command_tells_in_one_line_or_renders(tmp_path):
  given = ['--output', str(tmp_path / 'x'), '--num=2', '--size=16', '--processes=1']
  command = [sys.executable, str(ROOT / 'experiments' / 'render_heads.py'), *given]
  paths = [str(ROOT), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
  environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': os.pathsep.join(paths)}
  ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
  if importlib.util.find_spec('anny') is None:
    assert ran.returncode == 1
    assert ran.stderr == (
      "render_heads: heads need the package anny: pip install 'gan2shape_jax[heads]'\n"
    )
    assert not list(tmp_path.iterdir())
  else:
    assert ran.returncode == 0, ran.stderr
    assert np.load(tmp_path / 'x-00000-of-00001.npz')['images'].shape == (2, 16, 16, 3)


@pytest.fixture(scope='module')
def real_model():
  return head_rendering.load_model()


@WITH_MODEL
def test_the_real_model_is_a_head(real_model):
  assert len(real_model.template) > 4000
  assert sum(label.endswith('+') for label in real_model.labels) == 129
  normals = rendering.vertex_normals(real_model.template, real_model.faces)
  nose = real_model.template[:, 2].argmin()
  assert normals[nose, 2] > 0.5  # away from the camera, as the renderer has them
  lips = real_model.template[real_model.regions['lips'] > 0.5]
  assert -6.8 < lips[:, 1].max() < -6.4
  center = real_model.template[real_model.eye_rows].mean(1)
  np.testing.assert_allclose(center[0] * (-1, 1, 1), center[1], atol=0.02)


@WITH_MODEL
def test_real_heads_are_as_the_embedded_ones_are_described(real_model):
  maker = HeadMaker(real_model, Settings(size=64, seed=2, view_scale=0.3))
  made = [maker.make(number) for number in range(12)]
  stack = lambda name: np.stack([head[name] for head in made])
  depth, region = 1.1 - 0.2 * stack('depth') / 65535, stack('head_mask') > 0
  nearest = np.array([d[r].min() for d, r in zip(depth, region, strict=True)])
  assert 0.945 < nearest.mean() < 0.97
  assert 54 < region.any(2).sum(1).mean() < 59  # rows; 0.160 at depth 1.03 is 56
  assert 0.33 < region.mean() < 0.45
  assert 1.0 < np.quantile(depth[region], 0.95) < 1.05
  assert (stack('albedo')[region].std(0) > 20).all()


@WITH_MODEL
def test_a_real_face_has_eyes_lips_brows_and_hair(real_model):
  maker = HeadMaker(real_model, Settings(size=64))
  drawn = maker.draw(0)
  colouring = drawn.colouring._replace(
    skin=np.array([0.9, 0.7, 0.6]), hair=np.array([0.1, 0.1, 0.1]), hairline=0.0, brows=1.0
  )
  color = colours.vertex_colours(real_model, colouring)[: len(real_model.template)]
  places = real_model.template * (1, -1, -1)  # x, up, front
  at = lambda *point: color[np.linalg.norm(places - point, axis=1).argmin()]
  np.testing.assert_allclose(at(0, 8.4, 0.6), at(0, 8.0, -0.3), atol=0.05)  # hair
  assert at(0, 8.4, 0.6).max() < 0.2
  assert at(0.33, 7.55, 1.4).max() < 0.3  # a brow
  np.testing.assert_allclose(at(0, 7.7, 1.4), colouring.skin, atol=0.05)  # the forehead
  lips = color[real_model.regions['lips'] > 0.9]
  assert (lips[:, 0] > 1.4 * lips[:, 1]).all()
