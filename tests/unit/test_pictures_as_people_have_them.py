"""Pictures, folders and lists in the forms in which people have them."""

import os
import struct
import subprocess
import sys
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from gan2shape_jax import data, evaluation
from gan2shape_jax.config import get_default_config
from gan2shape_jax.data import decoding, images
from gan2shape_jax.errors import DataError
from tests.conftest import TESTDATA

FILES = TESTDATA / 'pictures'
WHOLE = FILES / 'folder_one_png_three_others' / 'a.png'


def opened(path):
  with Image.open(path) as file:
    picture = file.copy()
  picture.info = dict(file.info)
  return picture


def loaded(place, **changes):
  config = get_default_config().data
  config.images = str(place)
  for name, value in changes.items():
    config[name] = value
  return data.load_pictures(config, 64)


@pytest.fixture(scope='module')
def expected():
  return data.read_image(WHOLE, 64)


def chunk(kind, content, *, crc=None):
  crc = zlib.crc32(kind + content) if crc is None else crc
  return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', crc)


def with_chunk(path, added):
  """The whole picture with one more chunk after its header."""
  content = WHOLE.read_bytes()
  path.write_bytes(content[:33] + added + content[33:])
  return path


# Pixels before metadata


@pytest.mark.parametrize('name', ['png_big_text.png', 'png_raw_profile_bad.png'])
def test_whole_pixels_with_bad_texts(expected, name):
  np.testing.assert_array_equal(data.read_image(FILES / name, 64), expected)


@pytest.mark.parametrize(
  'added',
  [
    chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(70_000_000))),
    chunk(b'iTXt', b'XML:com.adobe.xmp\0\1\0\0\0' + b'not deflated'),
    chunk(b'iCCP', b'x\0\0' + b'no profile'),
    chunk(b'iCCP', b'x\0\0' + zlib.compress(b'no profile' * 30)),
    chunk(b'eXIf', b'II*\0\xff\xff\xff\xff' * 9),
    chunk(b'gAMA', b''),
    chunk(b'pHYs', b'1'),
    chunk(b'tEXt', b'a\0b', crc=7),
    chunk(b'acTL', b'\xff' * 8),
  ],
  ids=lambda added: added[4:8].decode(),
)
def test_whole_pixels_with_damaged_chunks(tmp_path, expected, added):
  path = with_chunk(tmp_path / 'x.png', added)
  np.testing.assert_array_equal(data.read_image(path, 64), expected)


@pytest.mark.parametrize('exif', [b'Exif\0\0II*\0' + b'\xff' * 400, b'Exif\0\0', b'\0' * 60_000])
def test_whole_pixels_with_damaged_exif(tmp_path, exif):
  path = tmp_path / 'x.jpg'
  opened(WHOLE).convert('RGB').save(path, quality=95)
  plain = data.read_image(path, 64)
  content = path.read_bytes()
  segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
  path.write_bytes(content[:2] + segment + content[2:])
  np.testing.assert_array_equal(data.read_image(path, 64), plain)


def test_damaged_pixels_are_still_refused(tmp_path):
  content = bytearray(WHOLE.read_bytes())
  for broken in (content[:-60], content[:400] + bytes(200) + content[600:]):
    (tmp_path / 'x.png').write_bytes(broken)
    with pytest.raises(DataError, match=r'x\.png: expected'):
      data.read_image(tmp_path / 'x.png', 64)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_all_orientations(tmp_path, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = tmp_path / 'x.png'
  opened(WHOLE).save(path, exif=exif)
  with Image.open(path) as file:
    turned = ImageOps.exif_transpose(file).convert('RGB')
  turned.save(tmp_path / 'y.png')
  assert np.array_equal(data.read_image(path, 64), data.read_image(tmp_path / 'y.png', 64))


# Colours


@pytest.mark.parametrize('name', ['adobe_rgb.png', 'display_p3.png'])
def test_embedded_profiles_become_srgb(expected, name):
  found = data.read_image(FILES / name, 64)
  without = np.asarray(opened(FILES / name).convert('RGB'), np.float32) / 127.5 - 1
  assert np.abs(found - expected).mean() < 0.01
  if len(without) == 64:
    assert np.abs(found - expected).mean() < 0.5 * np.abs(without - expected).mean()


def test_srgb_profiles_change_nothing_and_masks_are_no_colours(tmp_path, expected):
  srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  picture = opened(WHOLE)
  picture.save(tmp_path / 'x.png', icc_profile=srgb)
  np.testing.assert_array_equal(data.read_image(tmp_path / 'x.png', 64), expected)
  profile = opened(FILES / 'adobe_rgb.png').info['icc_profile']
  picture.save(tmp_path / 'm.png', icc_profile=profile)
  np.testing.assert_array_equal(data.read_mask(tmp_path / 'm.png', 64), data.read_mask(WHOLE, 64))
  for mode in ('L', 'LA', 'P', 'RGBA', 'CMYK'):  # some with a profile of other channels
    path = tmp_path / ('y.tif' if mode == 'CMYK' else 'y.png')
    picture.convert(mode).save(path, icc_profile=profile)
    assert data.read_image(path, 64).shape == (64, 64, 3)


def test_twelve_bits_in_sixteen(tmp_path, capsys, expected):
  images._say.cache_clear()
  found = data.read_image(FILES / 'grey_12_in_16_bit.png', 64)
  assert abs(found.mean() - expected.mean()) < 0.05
  data.read_image(FILES / 'grey_12_in_16_bit.png', 64)
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1
  assert lines[0].endswith('read as 12 bits')
  Image.fromarray(np.full((16, 16, 3), 9, np.uint8)).save(tmp_path / 'dark.png')
  data.read_image(tmp_path / 'dark.png', 64)
  assert 'dark.png: nearly black' in capsys.readouterr().err
  depth = Image.fromarray(np.full((16, 16), 2000, np.uint16))
  depth.save(tmp_path / 'd.png')
  np.testing.assert_allclose(data.read_depth(tmp_path / 'd.png', 16), 1.1 - 0.2 * 2000 / 65535)


# Folders and lists


def test_endings_that_pil_reads(capsys):
  pictures = loaded(FILES / 'folder_one_png_three_others')
  assert pictures.names == ['a', 'b', 'c', 'd']
  assert [p.image.shape for p in pictures] == [(64, 64, 3)] * 4
  assert capsys.readouterr().err.endswith('1 file (.heic) passed over\n')


def test_endings_are_photographs_only():
  assert {'.jfif', '.avif', '.jp2', '.png', '.jpg', '.tiff', '.pnm'} <= decoding.endings()
  assert not {'.eps', '.ps', '.pdf', '.wmf', '.mpg', '.h5', '.pfm', '.ico'} & decoding.endings()


def test_of_two_files_of_a_name_the_common_one_is_the_picture(tmp_path, capsys):
  picture = opened(WHOLE).convert('RGB')
  for name in ('a.png', 'a.tga', 'b.jfif'):
    picture.save(tmp_path / name)
  (tmp_path / 'notes.txt').write_text('')
  (tmp_path / 'README').write_text('')
  assert [p.path.name for p in loaded(tmp_path)] == ['a.png', 'b.jfif']
  assert '3 files (' in capsys.readouterr().err


def test_a_folder_of_folders(tmp_path):
  for name in ('one', 'two', 'none'):
    (tmp_path / name).mkdir()
  for name in ('one', 'two'):
    opened(WHOLE).save(tmp_path / name / f'{name}.png')
  with pytest.raises(DataError, match=r'its sub-folders hold some \(one, two\)'):
    loaded(tmp_path)
  assert loaded(f'{tmp_path}/**/*.*').names == ['one', 'two']
  (tmp_path / 'none' / 'x.heif2').write_text('')
  with pytest.raises(DataError, match=r'there are none, but 1 file \(\.heif2\)'):
    loaded(tmp_path / 'none')


def test_names_in_two_normal_forms(tmp_path):
  nfc, nfd = (unicodedata.normalize(form, 'café') for form in ('NFC', 'NFD'))
  (tmp_path / 'in').mkdir()
  (tmp_path / 'masks').mkdir()
  opened(WHOLE).save(tmp_path / 'in' / f'{nfd}.png')
  Image.new('L', (64, 64), 255).save(tmp_path / 'masks' / f'{nfc}.png')
  np.save(tmp_path / 'masks' / f'{nfc}.npy', np.zeros(5, np.float32))
  masks = str(tmp_path / 'masks')
  (picture,) = loaded(tmp_path / 'in', masks=masks, latents=masks)
  assert picture.mask.min() == 1
  assert picture.latent.shape == (5,)
  opened(WHOLE).save(tmp_path / 'in' / f'{nfc}.png')
  with pytest.raises(DataError, match='expected names to differ'):
    loaded(tmp_path / 'in')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
def test_lists_of_windows(tmp_path, encoding):
  (tmp_path / 'sub').mkdir()
  for name in ('one', 'zwölf'):
    opened(WHOLE).save(tmp_path / 'sub' / f'{name}.png')
  bom = '\ufeff' if encoding in ('utf-16-le', 'utf-16-be') else ''
  text = f'{bom}sub\\one.png\r\nsub\\zwölf.png\r\n'
  (tmp_path / 'list.txt').write_bytes(text.encode(encoding))
  assert loaded(tmp_path / 'list.txt').names == ['one', 'zwölf']


def test_the_list_with_backslashes(tmp_path):
  (tmp_path / 'list.txt').write_bytes((FILES / 'list_backslashes.txt').read_bytes())
  (tmp_path / 'sub').mkdir()
  opened(WHOLE).save(tmp_path / 'sub' / 'one.png')
  assert loaded(tmp_path / 'list.txt').names == ['one']


def test_lists_with_quotes(tmp_path):
  opened(WHOLE).save(tmp_path / 'one.png')
  (tmp_path / 'list.txt').write_text(f'"{tmp_path}\\one.png"\n')
  assert loaded(tmp_path / 'list.txt').names == ['one']


@pytest.mark.parametrize('place', ['x' * 5000, 'y/' * 3000, 'x\0y', 'x' * 300 + '.txt'])
def test_places_that_are_no_names_of_files(place):
  for settings in ({}, {'masks': place}, {'latents': place}, {'landmarks': place}):
    with pytest.raises(DataError, match='expected') as caught:
      loaded(WHOLE if settings else place, **settings)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_transparent_is_not_nearly_black(tmp_path, capsys):
  Image.new('RGBA', (16, 16), (5, 5, 5, 0)).save(tmp_path / 'clear.png')
  assert data.read_image(tmp_path / 'clear.png', 16).min() == 1
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize('place', ['~nobody9/x.png', 'list.txt'])
def test_homes_that_are_not_there(tmp_path, place, monkeypatch):
  (tmp_path / 'list.txt').write_text('~nobody9/x.png\nb\0d')
  monkeypatch.chdir(tmp_path)
  with pytest.raises(DataError) as caught:
    loaded(place)
  assert len(str(caught.value).splitlines()) == 1


# Hostile and large


def test_an_eps_starts_no_program(tmp_path):
  path = tmp_path / 'x.png'
  path.write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n' * 3)
  with pytest.raises(DataError, match='of no known format'):
    data.read_image(path, 64)


def test_pipes_and_devices(tmp_path):
  os.mkfifo(tmp_path / 'x.png')
  for path in (tmp_path / 'x.png', '/dev/zero'):
    with pytest.raises(DataError, match='this is a'):
      data.read_image(path, 64)
    with pytest.raises(DataError, match='no plain file'):
      loaded(path)


def test_a_limit_of_pixels(tmp_path):
  Image.new('L', (300, 200)).save(tmp_path / 'x.png')
  assert loaded(tmp_path / 'x.png', most_pixels=60_000)[0].image.shape == (64, 64, 3)
  with pytest.raises(DataError, match=r'x\.png: .*data\.most_pixels'):
    loaded(tmp_path / 'x.png', most_pixels=50_000)[0]


_READ = """
import resource, sys
from gan2shape_jax import data
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image, photo = data.read_image(sys.argv[1], 64), data.read_photo(sys.argv[1], 512)
print(image.shape, photo.shape, abs(image.mean((0, 1)) - (0.2, -0.2, 0.6)).max() < 0.02)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
  ('name', 'mode', 'most'), [('x.jpg', 'RGB', 250), ('x.png', 'RGBA', 500), ('y.png', 'P', 500)]
)
def test_large_photos_take_little_memory(tmp_path, name, mode, most):
  picture = Image.new('RGB', (6000, 5000), (153, 102, 204))
  picture.convert(mode).save(tmp_path / name, compress_level=1)
  done = subprocess.run(
    [sys.executable, '-c', _READ, tmp_path / name], capture_output=True, text=True, timeout=120
  )
  shapes, taken = done.stdout.splitlines()
  assert shapes == '(64, 64, 3) (512, 512, 3) True', done.stderr
  assert int(taken) < most


def test_a_large_photo_of_16_bits_and_an_aligned_one(tmp_path):
  ramp = np.broadcast_to(np.linspace(0, 65535, 5000).astype(np.uint16), (5000, 5000))
  Image.fromarray(ramp).save(tmp_path / 'x.png')
  image = data.read_image(tmp_path / 'x.png', 64)
  np.testing.assert_allclose(image[5, :, 0], np.linspace(-1, 1, 65)[:-1] + 1 / 64, atol=0.02)


# Tables


def test_long_cells_are_cut_in_printed_tables():
  text = evaluation.format_table([{'name': 'n' * 300 + '\n', 'x': 1.5}], summary=False)
  assert len(text.splitlines()) == 2
  assert max(map(len, text.splitlines())) < 80
