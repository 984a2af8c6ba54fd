"""Frames as MP4 and GIF. MP4 is H.264 that browsers play; GIF is for where nothing else plays."""

import subprocess
from collections.abc import Sequence

import imageio_ffmpeg
import numpy as np
from PIL import Image

from gan2shape_jax.artefacts.image_files import resize, to_uint8
from gan2shape_jax.storage.atomic_files import whole_file

_SMALLEST = 256


def video_frames(frames, *, smallest: int = _SMALLEST) -> list[np.ndarray]:
  """Pictures as the frames of a video, enlarged (bicubic) so that one can look at them.

  Args:
    frames: n pictures [size, size, 3] in [-1, 1], or bytes.
    smallest: pixels that the sides have at least; rounded up to a multiple of 16.

  Returns:
    n arrays of bytes [side, side, 3].
  """
  frames = [to_uint8(frame) for frame in frames]
  side = -(-max(smallest, frames[0].shape[0]) // 16) * 16
  return [resize(frame, side) for frame in frames]


def write_mp4(path, frames: Sequence[np.ndarray], *, fps: int = 24) -> None:
  """Writes an H.264 video that starts playing before it is loaded.

  Args:
    path: the file, ending in `.mp4`.
    frames: bytes [side, side, 3], side a multiple of 16 (see `video_frames`).
    fps: frames a second.

  Raises:
    ArtefactError: it could not be written whole.
  """
  height, width = frames[0].shape[:2]
  reading = f'-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i -'.split()
  coding = '-an -c:v libx264 -pix_fmt yuv420p -crf 20 -preset veryfast'.split()  # noqa: SIM905
  coding += ['-movflags', '+faststart']
  with whole_file(path) as partial:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), '-y', '-v', 'error', *reading, *coding]
    content = b''.join(np.ascontiguousarray(frame).tobytes() for frame in frames)
    done = subprocess.run([*command, str(partial)], input=content, capture_output=True)
    if done.returncode:
      lines = done.stderr.decode(errors='replace').strip().splitlines() or ['no reason given']
      raise OSError(f'the video encoder says: {lines[-1]}')


def write_gif(path, frames: Sequence[np.ndarray], *, fps: int = 24, stride: int = 2) -> None:
  """Writes an endless GIF with one palette for all its frames.

  Args:
    path: the file, ending in `.gif`.
    frames: bytes [height, width, 3].
    fps: frames a second of the whole sequence.
    stride: every how many-th frame is kept; the GIF lasts as long as the video.

  Raises:
    ArtefactError: it could not be written.
  """
  chosen = [Image.fromarray(frame) for frame in frames[::stride]]
  palette = _palette(chosen)
  quantized = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in chosen]
  with whole_file(path) as partial:
    quantized[0].save(
      partial,
      format='GIF',
      save_all=True,
      append_images=quantized[1:],
      duration=round(1000 * stride / fps),
      loop=0,
    )


def _palette(frames):
  few = frames[:: max(1, len(frames) // 6)]
  beside = np.concatenate([np.asarray(frame) for frame in few], axis=1)
  return Image.fromarray(beside).quantize(256, method=Image.Quantize.MEDIANCUT)


def write_video(stem, frames, *, fps: int = 24) -> None:
  """Writes `<stem>.mp4` and `<stem>.gif`.

  Args:
    stem: path without an ending.
    frames: n pictures [size, size, 3] in [-1, 1], or bytes.
    fps: frames a second.

  Raises:
    ArtefactError: a file could not be written.
  """
  prepared = video_frames(frames)
  for write, ending in ((write_mp4, '.mp4'), (write_gif, '.gif')):
    write(f'{stem}{ending}', prepared, fps=fps)
