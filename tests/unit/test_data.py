"""Reading pictures, masks, depths, latents and priors; one clear line for what cannot be read."""

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import DataError


def ramp(size=64):
  """Grey values that grow to the right."""
  row = np.linspace(0, 255, size).round().astype(np.uint8)
  return np.broadcast_to(row, (size, size))


def colour(size=64):
  values = ramp(size)
  return np.stack([values, values.T, np.full_like(values, 77)], axis=-1)


def as_read(values):
  return np.asarray(values, np.float32) / 255 * 2 - 1


def settings(images, **overrides):
  fields = {'masks': '', 'latents': '', 'depths': '', 'regions': '', 'start': 0, 'num': 0}
  fields |= {name: str(v) if hasattr(v, 'joinpath') else v for name, v in overrides.items()}
  config = get_default_config().data
  config.update({'images': str(images), **fields})
  return config


def folder(path, names, size=16, suffix='.png'):
  path.mkdir(exist_ok=True, parents=True)
  for k, name in enumerate(names):
    Image.fromarray(np.full((size, size), 200 + k, np.uint8)).save(path / f'{name}{suffix}')
  return path


def fails(match):
  return pytest.raises(DataError, match=match)


def test_a_picture_of_the_right_size_is_untouched(tmp_path):
  Image.fromarray(colour()).save(tmp_path / 'a.png')
  image = data.read_image(tmp_path / 'a.png', 64)
  assert image.dtype == np.float32
  np.testing.assert_allclose(image, as_read(colour()), atol=1e-6)


def test_modes_of_one_grey_ramp(tmp_path):
  grey = Image.fromarray(ramp())
  grey.save(tmp_path / 'grey.png')
  sixteen = Image.fromarray(ramp().astype(np.uint16) * 257)
  sixteen.save(tmp_path / 'sixteen.png')
  sixteen.save(tmp_path / 'sixteen.tif')
  grey.convert('P').save(tmp_path / 'palette.png')
  grey.convert('LA').save(tmp_path / 'grey_alpha.png')
  grey.convert('RGBA').save(tmp_path / 'rgba.png')
  grey.save(tmp_path / 'palette.gif')
  expected = np.repeat(as_read(ramp())[..., None], 3, axis=-1)
  for path in sorted(tmp_path.iterdir()):
    image = data.read_image(path, 64)
    assert image.shape == (64, 64, 3), path.name
    np.testing.assert_allclose(image, expected, atol=1e-6, err_msg=path.name)


def test_black_and_white_and_cmyk(tmp_path):
  Image.fromarray(ramp() > 127).save(tmp_path / 'bits.png')
  assert set(np.unique(data.read_image(tmp_path / 'bits.png', 64))) == {-1, 1}
  Image.fromarray(colour()).convert('CMYK').save(tmp_path / 'print.tif')
  image = data.read_image(tmp_path / 'print.tif', 64)
  np.testing.assert_allclose(image, as_read(colour()), atol=0.05)


def test_transparency_shows_white_in_pictures_and_nothing_in_masks(tmp_path):
  pixels = np.dstack([colour(), np.zeros((64, 64), np.uint8)])
  pixels[:, :32, 3] = 255
  Image.fromarray(pixels).save(tmp_path / 'a.png')
  image = data.read_image(tmp_path / 'a.png', 64)
  np.testing.assert_allclose(image[:, :32], as_read(colour())[:, :32], atol=1e-6)
  np.testing.assert_allclose(image[:, 32:], 1, atol=1e-6)
  white = np.full((64, 64, 4), 255, np.uint8)
  white[:, 32:, 3] = 0
  Image.fromarray(white).save(tmp_path / 'm.png')
  mask = data.read_mask(tmp_path / 'm.png', 64)[..., 0]
  np.testing.assert_allclose(mask[:, :32], 1, atol=1e-6)
  assert mask[:, 32:].max() == 0


def test_palette_with_transparency(tmp_path):
  picture = Image.new('P', (16, 16), 0)
  picture.putpalette([255, 0, 0, 0, 0, 255])
  picture.paste(1, (8, 0, 16, 16))
  picture.save(tmp_path / 'p.png', transparency=bytes([255, 0]))
  image = data.read_image(tmp_path / 'p.png', 16)
  np.testing.assert_allclose(image[:, :8], np.broadcast_to([1.0, -1, -1], (16, 8, 3)))
  np.testing.assert_allclose(image[:, 8:], 1)


@pytest.mark.parametrize('orientation', [3, 6, 8])
def test_rotation_by_a_camera_is_undone(tmp_path, orientation):
  upright = np.zeros((64, 64, 3), np.uint8)
  upright[:32] = 255  # bright sky
  turns = {3: 2, 6: 1, 8: 3}[orientation]  # quarter turns to the left, as the sensor saw it
  exif = Image.Exif()
  exif[0x0112] = orientation
  Image.fromarray(np.rot90(upright, turns)).save(tmp_path / 'a.jpg', exif=exif, quality=95)
  np.testing.assert_allclose(data.read_image(tmp_path / 'a.jpg', 64), as_read(upright), atol=0.1)


def test_the_middle_square_is_kept(tmp_path):
  wide = np.zeros((300, 400, 3), np.uint8)
  wide[:, 50:350, 1] = 255
  Image.fromarray(wide).save(tmp_path / 'wide.png')
  image = data.read_image(tmp_path / 'wide.png', 64)
  np.testing.assert_allclose(image, np.broadcast_to([-1.0, 1, -1], (64, 64, 3)), atol=1e-5)
  Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / 'tall.png')
  tall = data.read_image(tmp_path / 'tall.png', 64)
  np.testing.assert_allclose(tall, image, atol=1e-5)


def test_resizing_keeps_range_and_mean(tmp_path):
  random = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
  Image.fromarray(random).save(tmp_path / 'a.png')
  for size in (32, 64, 256):
    image = data.read_image(tmp_path / 'a.png', size)
    assert image.shape == (size, size, 3)
    assert -1 <= image.min() <= image.max() <= 1
    assert abs(image.mean() - as_read(random).mean()) < 0.02
  assert data.read_image(tmp_path / 'a.png', 32).std() < 0.5 * as_read(random).std()


def test_masks_average_areas(tmp_path):
  Image.fromarray(np.where(np.arange(16) < 10, 255, 0).astype(np.uint8)[None].repeat(16, 0)).save(
    tmp_path / 'm.png'
  )
  mask = data.read_mask(tmp_path / 'm.png', 8)
  assert mask.shape == (8, 8, 1)
  np.testing.assert_allclose(mask[0, :, 0], [1, 1, 1, 1, 1, 0, 0, 0])
  np.testing.assert_allclose(data.read_mask(tmp_path / 'm.png', 4)[0, :, 0], [1, 1, 0.5, 0])


def test_empty_masks_and_class_maps_are_refused(tmp_path):
  for value in (0, 1):
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(tmp_path / 'm.png')
    with fails('m.png: expected a mask that is white on the object'):
      data.read_mask(tmp_path / 'm.png', 16)


def test_depth_of_8_and_16_bits(tmp_path):
  Image.fromarray(ramp()).save(tmp_path / 'd8.png')
  Image.fromarray(ramp().astype(np.uint16) * 257).save(tmp_path / 'd16.png')
  for name in ('d8.png', 'd16.png'):
    depth = data.read_depth(tmp_path / name, 64)
    assert depth.shape == (64, 64)
    np.testing.assert_allclose(depth, 1.1 - 0.2 * ramp() / 255, atol=1e-6)
    assert set(np.unique(data.read_depth(tmp_path / name, 32))) <= set(np.unique(depth))
  Image.fromarray(colour()).save(tmp_path / 'c.png')
  with fails('c.png: expected a grey depth map'):
    data.read_depth(tmp_path / 'c.png', 64)


def test_the_default_mask_is_a_head_in_the_middle():
  mask = data.elliptic_mask(64)
  assert mask.shape == (64, 64, 1)
  assert mask[32, 32] > 0.99
  assert mask[0, 0] < 0.01
  rows, columns = np.nonzero(mask[..., 0] > 0.5)
  assert np.ptp(columns) + 1 == pytest.approx(2 * 0.270 * 64, abs=2)
  assert np.ptp(rows) + 1 == pytest.approx(2 * 0.451 * 64, abs=2)
  np.testing.assert_allclose(data.elliptic_mask(128)[::2, ::2], mask, atol=0.1)


def test_bad_pictures_are_named_in_one_line(tmp_path):
  good = tmp_path / 'good.png'
  Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(good)
  content = good.read_bytes()
  (tmp_path / 'truncated.png').write_bytes(content[: len(content) // 2])
  (tmp_path / 'text.png').write_text('not a picture')
  (tmp_path / 'empty.png').write_bytes(b'')
  Image.fromarray(ramp()[:7, :20]).save(tmp_path / 'tiny.png')
  Image.fromarray(np.zeros((16, 16), np.float32)).save(tmp_path / 'floats.tif')
  (tmp_path / 'folder.png').mkdir()
  names = ['missing.png', 'truncated.png', 'text.png', 'empty.png', 'tiny.png', 'floats.tif']
  for name in [*names, 'folder.png']:
    with fails(f'{name}: .*expected') as caught:
      data.read_image(tmp_path / name, 64)
    assert '\n' not in str(caught.value)


def test_the_embedded_heads(tmp_path):
  pictures = data.load_pictures(get_default_config().data, 64)
  assert pictures.names == ['000', '001', '002', '008']
  for picture in pictures:
    assert picture.image.shape == (64, 64, 3)
    assert picture.mask.shape == picture.region.shape == (64, 64, 1)
    assert picture.latent.shape == (256,)
    inside = picture.region[..., 0] > 0.5
    assert 0.9 < picture.depth[inside].min() < picture.depth[inside].max() < 1.1
    assert picture.depth[picture.mask[..., 0] < 0.5].min() == pytest.approx(1.1)
  prior = data.load_prior('embedded:heads')
  assert prior.view_cov.shape == (6, 6)
  assert data.locate('embedded:heads', 'prior.npz').is_file()
  assert data.locate(str(tmp_path), 'prior.npz') == tmp_path
  with fails('embedded:cars: expected one of heads'):
    data.embedded_path('cars')


def test_folder_glob_file_start_and_num(tmp_path):
  images = folder(tmp_path / 'pictures', ['b', 'a', 'c', 'd'])
  (images / 'notes.txt').write_text('no picture')
  (images / '.a.png').write_text('hidden')
  latents = tmp_path / 'w.npz'
  np.savez(latents, w=np.arange(4, dtype=np.float32)[:, None] * np.ones((4, 5), np.float32))
  config = settings(images, latents=latents)
  pictures = data.load_pictures(config, 16)
  assert pictures.names == ['a', 'b', 'c', 'd']
  assert [p.latent[0] for p in pictures] == [0, 1, 2, 3]
  assert pictures[-1].name == 'd'
  assert pictures[1:3].names == ['b', 'c']
  assert (pictures[0].mask, pictures[0].depth, pictures[0].region) == (None, None, None)
  config.start, config.num = 1, 2
  assert [(p.name, p.latent[0]) for p in data.load_pictures(config, 16)] == [('b', 1), ('c', 2)]
  matched = data.load_pictures(settings(images / '[bd].png', latents=latents), 16)
  assert [(p.name, p.latent[0]) for p in matched] == [('b', 1), ('d', 3)]
  (single,) = data.load_pictures(settings(images / 'c.png', latents=latents), 16)
  assert (single.name, single.latent[0]) == ('c', 2)


def test_pictures_are_read_when_they_are_asked_for(tmp_path):
  images = folder(tmp_path / 'pictures', ['a', 'b'])
  (images / 'b.png').write_text('damaged')
  pictures = data.load_pictures(settings(images), 16)
  assert pictures[0].name == 'a'
  with fails('b.png'):
    pictures[1]


def test_masks_depths_and_regions_go_by_name(tmp_path):
  images = folder(tmp_path / 'pictures', ['a', 'b'])
  masks = folder(tmp_path / 'masks', ['b', 'a', 'other'], suffix='.bmp')
  depths = folder(tmp_path / 'depths', ['a', 'b'])
  config = settings(images, masks=masks, depths=depths, regions=masks)
  first, second = data.load_pictures(config, 16)
  assert first.mask[0, 0, 0] == pytest.approx(201 / 255)
  assert second.region[0, 0, 0] == pytest.approx(200 / 255)
  assert second.depth[0, 0] == pytest.approx(1.1 - 0.2 * 201 / 255)
  one = data.load_pictures(settings(images / 'a.png', masks=masks / 'other.bmp'), 16)[0]
  assert one.mask[0, 0, 0] == pytest.approx(202 / 255)


def test_a_data_set_folder_brings_its_parts(tmp_path):
  names = ['a', 'b']
  for part in ('image', 'mask', 'depth', 'head_mask'):
    folder(tmp_path / part, names)
  folder(tmp_path / 'image32', names, size=32)
  np.savez(tmp_path / 'latents.npz', w=np.zeros((2, 6, 3), np.float32))
  picture = data.load_pictures(settings(tmp_path), 16)[0]
  assert picture.path == tmp_path / 'image' / 'a.png'
  assert picture.latent.shape == (6, 3)
  assert not any(value is None for value in picture)
  assert data.load_pictures(settings(tmp_path), 32)[0].path.parent.name == 'image32'
  without = data.load_pictures(settings(tmp_path, latents='none', masks='none'), 16)[0]
  assert without.latent is None
  assert without.mask is None
  others = folder(tmp_path / 'others', [*names, 'c'])
  assert data.load_pictures(settings(tmp_path, masks=others), 16)[1].mask.max() > 0.7


def test_latents_in_a_folder(tmp_path):
  images = folder(tmp_path / 'pictures', ['a', 'b'])
  for k, name in enumerate(('a', 'b')):
    np.save(tmp_path / f'{name}.npy', np.full((1, 7), k, np.float64))
  pictures = data.load_pictures(settings(images, latents=tmp_path), 16)
  assert pictures[1].latent.shape == (7,)
  assert pictures[1].latent[0] == 1
  (tmp_path / 'b.npy').unlink()
  with fails('b.npy: no such file'):
    data.load_pictures(settings(images, latents=tmp_path), 16)


def test_wrong_sets_are_named_in_one_line(tmp_path):
  images = folder(tmp_path / 'pictures', ['a', 'b'])
  (tmp_path / 'nothing').mkdir()
  two = folder(folder(tmp_path / 'two', ['a']), ['a'], suffix='.bmp')
  latents = tmp_path / 'three.npz'
  np.savez(latents, w=np.zeros((3, 5), np.float32))
  np.savez(tmp_path / 'v.npz', v=np.zeros((2, 5), np.float32))
  np.savez(tmp_path / 'flat.npz', w=np.zeros(2, np.float32))
  np.savez(tmp_path / 'nan.npz', w=np.full((2, 5), np.nan, np.float32))
  (tmp_path / 'text.npz').write_text('no archive')
  cases = {
    'nothing: expected pictures': settings(tmp_path / 'nothing'),
    'absent: no such file or folder': settings(tmp_path / 'absent'),
    'nothing matches': settings(tmp_path / 'x*.png'),
    'two/a.png: expected names to differ': settings(two),
    'nothing: expected a mask named a.png': settings(images, masks=tmp_path / 'nothing'),
    'lost: no such folder': settings(images, depths=tmp_path / 'lost'),
    'for each of 2 pictures, it has 3': settings(images, latents=latents),
    'v.npz: expected an .npz archive with w': settings(images, latents=tmp_path / 'v.npz'),
    'flat.npz: expected': settings(images, latents=tmp_path / 'flat.npz'),
    'nan.npz: expected finite': settings(images, latents=tmp_path / 'nan.npz'),
    'text.npz: expected': settings(images, latents=tmp_path / 'text.npz'),
    'gone.npz: expected .*No such file': settings(images, latents=tmp_path / 'gone.npz'),
    'has only 2 pictures': settings(images, start=2),
    'at least 0': settings(images, num=-1),
    'data.images is empty': settings(''),
  }
  for message, config in cases.items():
    with fails(message) as caught:
      data.load_pictures(config, 16)
    assert '\n' not in str(caught.value)


def test_priors_are_checked(tmp_path):
  good = data.load_prior('embedded:heads')._asdict()
  indefinite = np.diag([1.0, 1, 1, -1]).astype(np.float32)
  lopsided = np.eye(4) + np.eye(4, k=1) * 0.1
  cases = {
    'positive definite light_cov': {'light_cov': indefinite},
    'symmetric light_cov': {'light_cov': lopsided},
    r'light_mean \[4\]': {'light_mean': np.zeros(5)},
    'some of view_mean': {'view_mean': np.full(6, np.inf)},
  }
  for message, changes in cases.items():
    np.savez(tmp_path / 'prior.npz', **good | changes)
    with fails(f'prior.npz: expected .*{message}' if 'some' not in message else message):
      data.load_prior(tmp_path / 'prior.npz')
  np.savez(tmp_path / 'prior.npz', view_mean=np.zeros(6))
  with fails('it has no view_cov, light_mean, light_cov'):
    data.load_prior(tmp_path / 'prior.npz')


def test_a_list_of_files_keeps_its_order(tmp_path):
  images = folder(tmp_path / 'pictures', ['a', 'b', 'c'])
  listing = images.parent / 'mine.txt'
  listing.write_text(
    f'# some of mine\npictures/c.png\n\n{images / "a.png"}\n', encoding='utf-8-sig'
  )
  latents = tmp_path / 'w.npz'
  np.savez(latents, w=np.arange(2, dtype=np.float32)[:, None] * np.ones((2, 5), np.float32))
  pictures = data.load_pictures(settings(listing, latents=latents), 16)
  assert [(p.name, p.latent[0]) for p in pictures] == [('c', 0), ('a', 1)]
  assert data.load_pictures(settings(listing, start=1), 16).names == ['a']
  cases = {
    'pictures/a.png\nnobody.png': 'mine.txt, line 2: no such file .*nobody.png, expected a picture',
    '# nothing\n': 'mine.txt: expected a list with one path a line, it names none',
    'pictures/a.png\npictures/b.png\npictures/a.png': 'expected names to differ',
  }
  for text, message in cases.items():
    listing.write_text(text)
    with fails(message):
      data.load_pictures(settings(listing), 16)
  listing.write_bytes(b'\xff\xfe\x80')
  with fails('mine.txt: .*it is no text'):
    data.load_pictures(settings(listing), 16)


def test_latents_with_names_go_by_them(tmp_path):
  images = folder(tmp_path / 'pictures', ['a', 'b', 'c'])
  latents = tmp_path / 'w.npz'
  w = np.arange(2, dtype=np.float32)[:, None] * np.ones((2, 5), np.float32)
  np.savez(latents, w=w, names=['c', 'a'])
  pictures = data.load_pictures(settings(images / '[ac].png', latents=latents), 16)
  assert [(p.name, p.latent[0]) for p in pictures] == [('a', 1), ('c', 0)]
  with fails("w.npz: expected a latent of b, its 'names' lack it"):
    data.load_pictures(settings(images, latents=latents), 16)
  np.savez(latents, w=w, names=['c'])
  with fails("w.npz: expected 'names' with a name for each of 2 latents"):
    data.load_pictures(settings(images, latents=latents), 16)


@pytest.fixture
def head():
  """An embedded head: its 64 pixels as bytes and as read."""
  path = data.embedded_path('heads') / 'image' / '001.png'
  with Image.open(path) as file:
    return np.asarray(file.convert('RGB')), data.read_image(path, 64)


def enlarged(pixels, **margins):
  """A head of 64 pixels as 300, padded above and below to 300 x 400."""
  big = Image.fromarray(pixels).resize((300, 300), Image.Resampling.BICUBIC)
  return np.pad(np.asarray(big), ((50, 50), (0, 0), *[(0, 0)] * (pixels.ndim - 2)), **margins)


def photographed(original, read):
  """Checks that a photo-like picture comes out as the 64 px original, up to resampling."""
  difference = np.abs(original - read)
  assert difference.mean() < 0.012
  assert difference.max() < 0.35  # at the sharpest edges


def test_a_head_as_transparent_picture_of_300_x_400(tmp_path, head):
  pixels, original = head
  colours = enlarged(pixels, constant_values=0)
  opacity = enlarged(np.full((64, 64), 255, np.uint8), constant_values=0)
  Image.fromarray(np.dstack([colours, opacity])).save(tmp_path / 'a.png')
  photographed(original, data.read_image(tmp_path / 'a.png', 64))


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_a_head_as_turned_jpeg_of_300_x_400(tmp_path, head, orientation):
  pixels, original = head
  turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
  exif = Image.Exif()
  exif[0x0112] = orientation
  picture = Image.fromarray(np.rot90(enlarged(pixels, constant_values=255), turns))
  picture.save(tmp_path / 'a.jpg', exif=exif, quality=92)
  photographed(original, data.read_image(tmp_path / 'a.jpg', 64))


def test_a_head_as_grey_of_16_bits_of_300_x_400(tmp_path, head):
  pixels, _ = head
  grey = np.asarray(Image.fromarray(pixels).convert('L'))
  sixteen = enlarged(grey, constant_values=128).astype(np.uint16) * 257
  Image.fromarray(sixteen).save(tmp_path / 'a.png')
  expected = np.repeat(as_read(grey)[..., None], 3, axis=-1)
  photographed(expected, data.read_image(tmp_path / 'a.png', 64))
