"""The training as a whole: it resumes bit by bit, its snapshots are read, bad input is one line."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from PIL import Image

from configs import train_heads
from gan2shape_jax import gan_training
from gan2shape_jax.data import embedded_path
from gan2shape_jax.errors import DataError, FitError, Preempted, SettingsError
from gan2shape_jax.gan_training import batches, outputs, parameters, sampling, training_images
from gan2shape_jax.gan_training.gan_settings import (
  AUGMENTATIONS,
  check_devices,
  most_devices,
  settings_from_config,
)
from gan2shape_jax.models import stylegan2
from gan2shape_jax.storage import folder_lock
from gan2shape_jax.storage.workdir import check_workdir
from gan2shape_jax.weights import load_safetensors, load_stylegan2, read_stylegan2
from gan2shape_jax.weights.array_files import flatten
from tests.support.gan_training import (
  SETTINGS,
  hasty_compiler,  # noqa: F401, for all tests here
  real_images,
  tiny_config,
)


@pytest.fixture
def archive(tmp_path):
  path = tmp_path / 'images.npz'
  np.savez(path, images=real_images(10))
  return path


def test_a_folder_takes_one_training_at_a_time(archive, tmp_path):
  run = tmp_path / 'run'
  run.mkdir()
  with folder_lock.locked(run), pytest.raises(FitError, match='another run is at work') as caught:
    gan_training.train(tiny_config(archive), run)
  assert str(caught.value).startswith(f'{run}: ')
  assert not list(run.iterdir())


@pytest.mark.parametrize('devices', [1, 4])
def test_a_stopped_training_goes_on_to_the_same_gan(archive, tmp_path, devices):
  config = tiny_config(archive)
  config.gan_training.devices = devices
  whole = gan_training.train(config, tmp_path / 'whole')
  assert whole.name == '00000064.safetensors'
  stops = iter([False, True])
  with pytest.raises(Preempted, match='after 32 images'):
    gan_training.train(config, tmp_path / 'broken', stop=lambda: next(stops))
  broken = gan_training.train(config, tmp_path / 'broken')
  early = tmp_path / 'whole' / 'snapshots' / '00000032.safetensors'
  early, whole, broken = (flatten(load_safetensors(path)) for path in (early, whole, broken))
  assert whole.keys() == broken.keys()
  assert all(np.array_equal(whole[name], broken[name]) for name in whole)
  for name in ('generator/block8/up/kernel', 'discriminator/block1/conv1/kernel'):
    assert not np.array_equal(early[name], whole[name])
  for name in ('real', '00000032', '00000064'):
    paths = [tmp_path / run / 'samples' / f'{name}.png' for run in ('whole', 'broken')]
    first, second = (np.asarray(Image.open(path)) for path in paths)
    np.testing.assert_array_equal(first, second)
    assert first.shape == (8, 64, 3)
  assert list((tmp_path / 'whole' / 'events').iterdir())

  config.gan_training.learning_rate = 1e-3
  with pytest.raises(FitError, match='learning_rate'):
    gan_training.train(config, tmp_path / 'whole')


def test_a_stopped_training_can_be_told_to_end_there(archive, tmp_path):
  config = tiny_config(archive)
  with pytest.raises(Preempted, match='after 16 images'):
    gan_training.train(config, tmp_path / 'run', stop=lambda: True)
  config.gan_training.images_shown = SETTINGS.batch_size
  path = gan_training.train(config, tmp_path / 'run')
  assert path.name == '00000016.safetensors'
  load_stylegan2(path)


def test_a_training_can_be_told_to_go_on_and_settle(archive, tmp_path):
  config = tiny_config(archive)
  config.gan_training.images_shown = 2 * SETTINGS.batch_size
  gan_training.train(config, tmp_path / 'longer')
  config.gan_training.images_shown = 4 * SETTINGS.batch_size
  config.gan_training.decay_images = 2 * SETTINGS.batch_size
  assert settings_from_config(config).decay == (32, 64)
  longer = gan_training.train(config, tmp_path / 'longer')
  whole = gan_training.train(config, tmp_path / 'whole')
  longer, whole = (flatten(load_safetensors(path)) for path in (longer, whole))
  assert all(np.array_equal(whole[name], longer[name]) for name in whole)
  config.gan_training.style_mixing = 0.0
  check_workdir(tmp_path / 'longer', config)  # does not refuse it


def test_snapshots_are_read_as_any_gan(tmp_path):
  state = gan_training.initial_state(SETTINGS)
  path = tmp_path / 'gan.safetensors'
  outputs.write_snapshot(path, state, SETTINGS, 123)
  generator, discriminator = load_stylegan2(path)
  z = np.stack([jax.random.normal(jax.random.key(k), (SETTINGS.latent_size,)) for k in range(3)])
  read = stylegan2.synthesize(generator, stylegan2.mapping(generator, z))
  np.testing.assert_allclose(outputs.sample_images(state.average, 3), read, atol=1e-5)
  same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)
  jax.tree.map(same, discriminator, parameters.plain(state.discriminator))
  mean = read_stylegan2(path).mean_latent
  many = np.random.default_rng(0).normal(size=(4096, SETTINGS.latent_size)).astype(np.float32)
  np.testing.assert_allclose(mean, stylegan2.mapping(generator, many).mean(0), atol=0.1)


def test_every_epoch_shows_every_image_once_in_another_order():
  order = batches.Order(10, 4, seed=1)
  numbers = np.concatenate([order.numbers(k) for k in range(5)])
  assert sorted(numbers[:10]) == sorted(numbers[10:]) == list(range(10))
  assert list(numbers[:10]) != list(numbers[10:])
  np.testing.assert_array_equal(batches.Order(10, 4, seed=1).numbers(3), numbers[12:16])
  assert list(batches.Order(10, 4, seed=2).numbers(0)) != list(numbers[:4])


def test_batches_go_on_where_they_are_asked_to(archive):
  loaded = training_images.load_images(tiny_config(archive))
  make = lambda start, mirror: batches.Batches(
    loaded, batch_size=4, seed=3, start=start, mirror=mirror
  )
  with make(0, True) as all_of_them, make(2, True) as later, make(0, False) as unmirrored:
    first = [next(all_of_them) for _ in range(3)]
    np.testing.assert_array_equal(next(later), first[2])
    plain = next(unmirrored)
  flipped = [(a == b[:, ::-1]).all() for a, b in zip(first[0], plain, strict=True)]
  kept = [(a == b).all() for a, b in zip(first[0], plain, strict=True)]
  assert all(a != b for a, b in zip(flipped, kept, strict=True))
  mirrors = batches.mirrored(np.arange(600, dtype=np.uint8).reshape(100, 1, 2, 3), 3, 0)
  assert 30 < (mirrors[:, 0, 0, 0] > mirrors[:, 0, 1, 0]).sum() < 70


def test_folders_are_read_like_archives(archive, tmp_path):
  folder = tmp_path / 'pictures'
  folder.mkdir()
  for k, picture in enumerate(real_images(10)):
    Image.fromarray(picture).save(folder / f'{k:02d}.png')
  of_archive, of_folder = (training_images.load_images(tiny_config(x)) for x in (archive, folder))
  for _ in range(2):  # decoded, then kept
    np.testing.assert_array_equal(of_folder.batch([3, 9]), of_archive.batch([3, 9]))
  of_folder.close()


def test_shards_are_read_like_one_archive(archive, tmp_path):
  folder, pictures = tmp_path / 'shards', real_images(10)
  folder.mkdir()
  for k, part in enumerate((pictures[:3], pictures[3:4], pictures[4:])):
    np.savez(folder / f'x-{k:05d}-of-00003.npz', images=part)
  whole = training_images.load_images(tiny_config(archive))
  for place in (folder, folder / 'x-*.npz', folder / '*-of-00003.npz'):
    loaded = training_images.load_images(tiny_config(place))
    assert len(loaded) == len(whole) == 10
    np.testing.assert_array_equal(loaded.batch([9, 3, 0, 4]), whole.batch([9, 3, 0, 4]))
  assert len(training_images.load_images(tiny_config(folder / 'x-00002-of-00003.npz'))) == 6
  np.savez(folder / '.partial-0-x-00001-of-00003.npz', images=pictures)
  assert len(training_images.load_images(tiny_config(folder))) == 10
  Image.fromarray(pictures[0]).save(folder / 'a.png')
  with pytest.raises(DataError, match='it has both'):
    training_images.load_images(tiny_config(folder))
  (folder / 'x-00001-of-00003.npz').unlink()
  with pytest.raises(DataError, match=r'x-00001-of-00003\.npz: not among the 2 archives'):
    training_images.load_images(tiny_config(folder / 'x-*.npz'))
  with pytest.raises(DataError, match='nothing matches'):
    training_images.load_images(tiny_config(folder / 'y-*.npz'))


def test_unfit_images_are_told_in_one_line(tmp_path):
  def refused(place, *words):
    with pytest.raises(DataError) as caught:
      training_images.load_images(tiny_config(place))
    assert '\n' not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value

  refused('', 'gan_training.images', 'expected')
  refused(tmp_path / 'nowhere.npz', 'nowhere.npz', 'No such file')
  np.savez(tmp_path / 'size.npz', images=real_images(2, 16))
  refused(tmp_path / 'size.npz', '8x8', '16x16')
  np.savez(tmp_path / 'kind.npz', images=real_images(2).astype(np.float32))
  refused(tmp_path / 'kind.npz', 'uint8', 'float32')
  np.savez(tmp_path / 'name.npz', pictures=real_images(2))
  refused(tmp_path / 'name.npz', 'images')
  refused(tmp_path / 'nowhere', 'no such file or folder')
  (tmp_path / 'folder').mkdir()
  refused(tmp_path / 'folder', 'there are none')
  Image.new('RGB', (20, 7)).save(tmp_path / 'folder' / 'low.png')
  refused(tmp_path / 'folder', 'low.png', 'at least 8x8', '20x7')
  (tmp_path / 'folder' / 'low.png').write_bytes(b'nothing')
  refused(tmp_path / 'folder', 'low.png', 'no known format')


def test_a_damaged_picture_stops_the_training_in_one_line(tmp_path):
  Image.fromarray(real_images(1)[0]).save(tmp_path / 'a.png')
  whole = (tmp_path / 'a.png').read_bytes()
  (tmp_path / 'a.png').write_bytes(whole[: len(whole) // 2])
  loaded = training_images.load_images(tiny_config(tmp_path))
  with (
    batches.Batches(loaded, batch_size=4, seed=0) as made,
    pytest.raises(DataError, match=r'a\.png: expected a complete picture'),
  ):
    next(made)
  loaded.close()


@pytest.mark.parametrize(
  ('name', 'value', 'wanted'),
  [
    ('widths', (8,), '2 positive numbers'),
    ('batch_size', 6, 'multiple of 4'),
    ('r1_every', 0, 'at least 1'),
    ('style_mixing', 1.5, 'from 0 to 1'),
    ('beta2', 1.0, 'less than 1'),
    ('augment', 'blit,noise', 'blit, geometric, colour'),
    ('dtype', 'float16', 'bfloat16'),
    ('learning_rate', 0.0, 'more than 0'),
    ('devices', 99, '0 (all) to 8'),
    ('images_shown', 0, 'at least 1'),
    ('decay_images', 65, '0 to images_shown, 64'),
    ('decay_images', -1, '0 to images_shown, 64'),
  ],
)
def test_unfit_settings_are_told_in_one_line(archive, tmp_path, name, value, wanted):
  config = tiny_config(archive)
  config.gan_training[name] = value
  with pytest.raises(SettingsError) as caught:
    gan_training.train(config, tmp_path / 'run')
  assert f'gan_training.{name}=' in str(caught.value)
  assert wanted in str(caught.value)
  assert not (tmp_path / 'run').exists()


def test_batches_must_divide_among_devices():
  with pytest.raises(SettingsError, match='multiple of 12 for 3 devices'):
    check_devices(SETTINGS, 3)
  shrunk = dataclasses.replace(SETTINGS, path_batch_shrink=8)
  with pytest.raises(SettingsError, match='path_batch_shrink=8'):
    check_devices(shrunk, 4)
  for settings in (SETTINGS, shrunk, dataclasses.replace(SETTINGS, batch_size=48)):
    for limit in range(1, 5):
      taken = most_devices(settings, limit)
      assert taken <= limit
      check_devices(settings, taken)
      for more in range(taken + 1, limit + 1):
        with pytest.raises(SettingsError):
          check_devices(settings, more)


def test_settings_are_the_configurations():
  config = tiny_config('images.npz')
  assert settings_from_config(config) == SETTINGS


def test_bfloat16_is_float32_up_to_its_precision():
  half = dataclasses.replace(SETTINGS, dtype='bfloat16')
  raw, _ = parameters.initial(SETTINGS)
  params = parameters.plain(raw)
  draws = sampling.draw(jax.random.key(0), np.arange(4), SETTINGS)

  @functools.partial(jax.jit, static_argnums=1)
  def made(params, settings):
    latents = sampling.mixed_latents(params, draws)
    return sampling.generate(params, latents, draws.noise, settings)

  exact, rough = made(params, SETTINGS), made(params, half)
  assert rough.dtype == np.float32
  error = np.abs(exact - rough).max() / np.abs(exact).max()
  assert 1e-4 < error < 0.05  # bfloat16 has 8 bits


def test_the_configuration_has_the_embedded_gans_size():
  settings = settings_from_config(train_heads.get_config())
  embedded = load_stylegan2(embedded_path('heads') / 'stylegan2.safetensors')
  for flat, params in zip(parameters.shapes(settings), embedded, strict=True):
    assert flat == {name: array.shape for name, array in flatten(params).items()}
  assert settings_from_config(train_heads.get_config('small')).augment == AUGMENTATIONS
  with pytest.raises(ValueError, match='unknown variant'):
    train_heads.get_config('nonsense')
