"""Latents in the forms in which people have them."""

import os

import ml_dtypes
import numpy as np
import pytest

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.data.latents import read_latent
from gan2shape_jax.errors import DataError
from gan2shape_jax.weights import read_torch_file
from tests.conftest import TESTDATA
from tests.support.foreign_files import torch_zip

FILES = TESTDATA / 'latents'


def latents_of(images, latents):
  """Name -> latent as a run would have them."""
  config = get_default_config().data
  config.images, config.latents = str(images), str(latents)
  return {picture.name: picture.latent for picture in data.load_pictures(config, 64)}


def refused(images, latents):
  with pytest.raises(DataError) as caught:
    latents_of(images, latents)
  assert len(str(caught.value).splitlines()) == 1
  assert str(latents) in str(caught.value)
  return str(caught.value)


@pytest.fixture
def two():
  return FILES / 'two_pictures'


@pytest.mark.parametrize(
  ('name', 'shape', 'said'),
  [
    ('latents_of_two.npy', (10, 256), 'go to the pictures in order'),
    ('latents_by_name.pt', (10, 256), ''),
    ('projector_two_pictures.pt', (256,), ''),
    ('projected_w_folder', (256,), ''),
  ],
)
def test_latents_of_two_pictures(two, capsys, name, shape, said):
  found = latents_of(two, FILES / name)
  if name == 'projected_w_folder':  # w+ with all layers alike stays w+
    shape = (10, 256)
  assert [latent.shape for latent in found.values()] == [shape] * 2
  assert not np.array_equal(*found.values())
  assert said in capsys.readouterr().err


def test_latents_of_one_picture(two):
  one = two / 'pic1.png'
  assert latents_of(one, FILES / 'latent_of_one.npy')['pic1'].shape == (10, 256)
  by_name = latents_of(one, FILES / 'latents_by_name.pt')['pic1']
  np.testing.assert_array_equal(by_name, latents_of(two, FILES / 'latents_by_name.pt')['pic1'])
  assert 'pic1' in refused(one, FILES / 'projector_one_picture.pt')  # it is of another
  assert read_latent(FILES / 'projector_one_picture.pt').shape == (256,)


A, B = np.arange(5, dtype=np.float32), np.ones(5, np.float32)


@pytest.mark.parametrize(
  'content',
  [
    [A, B],
    {'dlatents': np.stack([A, B])},
    {'latents': [A[None], B[None]]},
    {'w': np.stack([A, B]), 'other': 3},
    {'somewhere/pic1.jpeg': B, 'C:\\photos\\pic0.png': A},
    {'pic1': {'w': B, 'l': 1}, 'pic0': {'w': A, 'l': 2}},
    np.stack([A, B])[:, None],
    np.stack([A, B]).astype(ml_dtypes.bfloat16).astype(np.float32),
  ],
)
def test_forms_of_torch_files(tmp_path, two, content):
  path = torch_zip(tmp_path / 'x.pt', listed(content))
  found = latents_of(two, path)
  np.testing.assert_array_equal(found['pic0'].ravel(), A)
  np.testing.assert_array_equal(found['pic1'].ravel(), B)


def listed(content):
  """Arrays within lists as tensors too."""
  from tests.support.foreign_files import Tensor

  if isinstance(content, list):
    return [Tensor(entry) for entry in content]
  if isinstance(content, dict):
    return {name: listed(entry) for name, entry in content.items()}
  return content


def test_numpy_within_torch_files(tmp_path, two):
  """What scripts put beside tensors, and arrays that never were tensors."""
  beside = {'psi': np.float64(0.7), 'step': np.int64(3), 'flag': np.bool_(True)}
  for content in (
    beside | {'latent': [A, B]},  # arrays in a list stay numpy's
    beside | {'latent': np.stack([A, B]), 'more': {'deep': [np.float32(1.5)] * 3}},
    beside | {'latents': [A.astype('>f8'), np.asfortranarray(B[None])]},
  ):
    found = latents_of(two, torch_zip(tmp_path / 'x.pt', content))
    np.testing.assert_array_equal(found['pic0'].ravel(), A)
    np.testing.assert_array_equal(found['pic1'].ravel(), B)
  read = read_torch_file(torch_zip(tmp_path / 'x.pt', beside | {'pair': (A, 1), 'all': [[A]]}))
  assert read['psi'] == 0.7
  assert read['step'] == 3
  np.testing.assert_array_equal(read['pair'][0], A)
  np.testing.assert_array_equal(read['all'][0][0], A)


def test_numpy_objects_within_torch_files(tmp_path, two):
  for content in ([np.array([print, None])], [np.array(['a'])], {'w': np.array(print)[()]}):
    assert 'of tensors only' in refused(two, torch_zip(tmp_path / 'x.pt', content))
  itself = [A]
  itself.append(itself)
  assert read_torch_file(torch_zip(tmp_path / 'x.pt', itself))[1][0].shape == (5,)


def test_forms_of_archives(tmp_path, two):
  path = tmp_path / 'x.npz'
  for arrays in (
    {'latents': np.stack([A, B])},
    {'pic1': B, 'pic0': A},
    {'dlatents': np.stack([B, A]), 'names': ['a/pic1.png', 'pic0']},
    {'w': np.float16([A, B])},
  ):
    np.savez(path, **arrays)
    found = latents_of(two, path)
    np.testing.assert_array_equal(found['pic0'], A)
    np.testing.assert_array_equal(found['pic1'], B)


def test_a_folder_of_mixed_files(tmp_path, two):
  np.savez(tmp_path / 'pic0.npz', dlatents=A[None, None])
  (tmp_path / 'pic1').mkdir()
  np.savez(tmp_path / 'pic1' / 'projected_w.npz', w=np.stack([B, B])[None])
  found = latents_of(two, tmp_path)
  assert found['pic0'].shape == (5,)
  assert found['pic1'].shape == (2, 5)


@pytest.mark.parametrize(
  ('arrays', 'told'),
  [
    ({'w': np.full((2, 5), 1e39)}, 'finite'),
    ({'w': np.stack([A, B]), 'names': ['pic0', 'pic0']}, 'pic0 comes twice'),
    ({'w': np.stack([A, B]), 'names': ['x/pic0.png', 'y/pic0.png']}, 'it has 2'),
    ({'w': np.stack([A, B]), 'names': ['pic0', 'pic2']}, "'names' lack it"),
    ({'w': np.array(['a', 'b'])}, 'of floats'),
    ({'pic0': A, 'pic2': B}, 'none is of pic1'),
    ({'weights': np.ones((3, 4)), 'bias': np.ones(3)}, 'expected an .npz archive with w'),
  ],
)
def test_latents_that_are_refused(tmp_path, two, arrays, told):
  path = tmp_path / 'x.npz'
  np.savez(path, **arrays)
  assert told in refused(two, path)


def test_an_axis_of_one_layer_is_no_layer(tmp_path, two):
  np.savez(tmp_path / 'x.npz', w=np.stack([A, B])[:, None], names=['pic0', 'pic1'])
  assert latents_of(two, tmp_path / 'x.npz')['pic1'].shape == (5,)
  np.save(tmp_path / 'x.npy', np.stack([A, B])[:, None])
  assert latents_of(two, tmp_path / 'x.npy')['pic1'].shape == (5,)
  np.save(tmp_path / 'x.npy', A[None, None])
  assert latents_of(two / 'pic1.png', tmp_path / 'x.npy')['pic1'].shape == (5,)


@pytest.mark.parametrize('names', [[['a'], ['b', 'c']], [1, 2], {'a': 1}, 'ab', None])
def test_names_that_are_none(tmp_path, two, names):
  path = torch_zip(tmp_path / 'x.pt', {'w': np.stack([A, B]), 'names': names})
  if names is None:
    assert len(latents_of(two, path)) == 2
  else:
    assert "expected 'names'" in refused(two, path)


def test_a_list_of_none_and_other_things(tmp_path, two):
  for content in ([], {}, {'latent': None}, {'a': {'b': 1}, 'c': {'d': 2}}, 'text', 7):
    refused(two, torch_zip(tmp_path / 'x.pt', content))


@pytest.mark.parametrize('ending', ['npy', 'npz', 'pt'])
def test_pipes_are_refused_at_once(tmp_path, two, ending):
  path = tmp_path / f'x.{ending}'
  os.mkfifo(path)
  assert 'this is a pipe' in refused(two, path)


def test_priors_with_numbers_too_large_for_float32(tmp_path):
  prior = data.load_prior('embedded:heads')._asdict()
  np.savez(tmp_path / 'p.npz', **prior | {'view_mean': np.full(6, 1e39)})
  with pytest.raises(DataError, match='view_mean are not'):
    data.load_prior(tmp_path / 'p.npz')


def test_archives_that_swell(tmp_path, two):
  path = tmp_path / 'x.npz'
  np.savez_compressed(path, w=np.zeros((2, 20_000_000), np.float32))
  assert 'unpacked' in refused(two, path)
