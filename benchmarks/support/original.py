"""The original implementation's seconds, scaled to this machine by a workload in PyTorch."""

from collections.abc import Mapping

from benchmarks.support.timing import Timing

# Seconds an iteration of the original on two cores, at published widths, 64 px, batch 16 and
# without its perceptual term; the PyTorch workload took CALIBRATION seconds there.
SECONDS = {'step 1': 0.28, 'step 2': 1.4, 'step 3': 0.82}
CALIBRATION = 0.250


def compare(timings: Mapping[str, Timing], torch_seconds: float | None) -> dict | None:
  """Each step beside the original's.

  Args:
    timings: of ours, by the names of `SECONDS` and others.
    torch_seconds: of the PyTorch workload here; None where PyTorch is not installed.

  Returns:
    The workload's seconds, and name -> seconds of both; None without PyTorch.
  """
  if torch_seconds is None:
    return None
  scale = torch_seconds / CALIBRATION
  return {'torch_calibration_seconds': torch_seconds} | {
    name: {
      'original_seconds': seconds * scale,
      'seconds': timings[name].seconds,
      'times_faster': seconds * scale / timings[name].seconds,
    }
    for name, seconds in SECONDS.items()
  }


def text(found: dict | None, setting: dict) -> list[str]:
  """Lines for a terminal.

  Args:
    found: what `compare` gave.
    setting: of the measurement.
  """
  if found is None:
    return ['PyTorch is not installed: no comparison with the original']
  lines = [f'PyTorch calibration: {found["torch_calibration_seconds"]:.4f} s']
  shape = (setting['image_size'], setting['batch_size'], setting['network_width'])
  if shape != (64, 16, 'published'):
    lines.append('the original below is at 64 px, batch 16 and published widths; these are not')
  for name in SECONDS:
    of_step = found[name]
    lines.append(
      f'{name}: {of_step["seconds"]:.3f} s, original scaled to this machine '
      f'{of_step["original_seconds"]:.3f} s (no perceptual term): {of_step["times_faster"]:.2f} '
      'times as fast'
    )
  return lines
