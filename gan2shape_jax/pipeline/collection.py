"""Reconstructs a collection of pictures into a folder: resumable, in groups over the devices."""

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

from ml_collections import ConfigDict

from gan2shape_jax import artefacts, evaluation
from gan2shape_jax.errors import DataError, FitError, SettingsError
from gan2shape_jax.pipeline import config_checks, finished, setup, sources
from gan2shape_jax.pipeline.assembly import assemble
from gan2shape_jax.pipeline.fitting import Fitter
from gan2shape_jax.pipeline.jobs import Job
from gan2shape_jax.pipeline.masks import check_category, mask_finder
from gan2shape_jax.pipeline.picture_latents import LatentFinder, check_latents
from gan2shape_jax.pipeline.picture_results import (
  lacks_gan_videos,
  missing_kinds,
  write_missing,
  write_picture,
)
from gan2shape_jax.pipeline.preparation import Preparation, prepare
from gan2shape_jax.reconstruction.parallel import Layout, make_layout
from gan2shape_jax.runtime import cpu_devices, hosts
from gan2shape_jax.runtime.profiling import Traces
from gan2shape_jax.runtime.progress import Stopwatch
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.checkpoints import Checkpoints
from gan2shape_jax.storage.curves import Events
from gan2shape_jax.storage.folder_lock import locked
from gan2shape_jax.storage.workdir import check_names, check_workdir, claimed


def reconstruct_all(
  config: ConfigDict, workdir, *, stop: Callable[[], bool] = lambda: False
) -> list[dict]:
  """Reconstructs all pictures that a configuration names.

  A picture whose results are written is passed over, so that the same call after an interruption
  goes on where it stopped and ends with the same arrays. Called alike in each process of a run on
  many hosts (`hosts.initialize`), each works on its share and all return the same.

  Args:
    config: a whole configuration.
    workdir: folder for the results, one subfolder a picture; made if missing.
    stop: asked after every iteration whether to save and stop.

  Returns:
    A row for each reconstructed picture: its name and metrics. With data.on_error=skip, pictures
    that could not be are left out; failed.json tells why.

  Raises:
    SettingsError, DataError, WeightsError, CheckpointError, ArtefactError, FitError: one line that
      names the setting or the file.
    Preempted: `stop` said so; a checkpoint was written.
  """
  workdir = pathlib.Path(workdir)
  config_checks.check_config(config)
  check_category(config)
  pictures = sources.load_pictures(config)
  check_names(pictures.names, config)
  divide_processor(config, len(pictures))
  mine = hosts.share(len(pictures))
  waiting = [
    number
    for number in mine
    if not finished.is_finished(workdir / pictures.names[number], pictures, number)
  ]
  failures = _Failures(config)
  latents = {}
  for number in waiting:  # a damaged file is told before hours of work, not after
    with failures.noted(pictures.names[number]):
      picture = pictures[number]
      latents[picture.path] = None if picture.latent is None else picture.latent.shape
  waiting = [number for number in waiting if pictures.names[number] not in failures.reasons]
  text = check_workdir(workdir, config) if hosts.is_first() else ''
  hosts.wait('the folder is fit to be used')
  with locked(workdir, hosts.number()):
    for number in set(mine) - set(waiting):
      _forget_checkpoints(workdir / pictures.names[number])
    return _reconstruct(config, workdir, pictures, waiting, latents, failures, text, stop)


def _reconstruct(config, workdir, pictures, waiting, latents, failures, text, stop):
  """Fits the pictures that wait and writes the summary; returns the rows of all."""
  mine = hosts.share(len(pictures))
  added = _write_missing(config, workdir, pictures, [k for k in mine if k not in set(waiting)])
  if added and not waiting and hosts.is_first():
    atomic_files.write_text(workdir / 'config.json', text)
  if waiting:
    clock = Stopwatch()
    with clock.part('load'):
      layout = make_run_layout(config, len(pictures))
      shared = assemble(config)
      finder = LatentFinder(config, shared.frozen, stop=stop)
      preparation = Preparation(config, workdir, pictures, shared, finder, mask_finder(config))
    check_latents(latents, shared.frozen.generator)
    # Only now: a run that could not begin leaves no claim on the folder.
    with claimed(workdir, text), Events(workdir / 'events') as events:
      traces = Traces(workdir / 'profile' if config.profile else None)
      fitter = Fitter(config, shared, layout, events, stop, traces)
      _Groups(preparation, fitter, failures).run(waiting, clock)
  done = sorted(set(mine) - {k for k in mine if pictures.names[k] in failures.reasons})
  rows = [(k, finished.row(pictures.names[k], workdir / pictures.names[k])) for k in done]
  told = hosts.gather({'rows': rows, 'failed': failures.reasons, 'new': bool(waiting or added)})
  rows = [row for _, row in sorted((pair for part in told for pair in part['rows']), key=_first)]
  failed = {name: reason for part in told for name, reason in part['failed'].items()}
  if hosts.is_first():
    _write_summary(workdir, rows, failed, changed=any(part['new'] for part in told))
  if not rows:
    raise DataError(f'{config.data.images}: no picture could be reconstructed')
  return rows


def divide_processor(config: ConfigDict, pictures: int) -> None:
  """Makes several devices of the processor, no more than pictures; none where samples are split.

  Args:
    config: `parallel`.
    pictures: how many there are to reconstruct.
  """
  if config.parallel.split == 'images':
    cpu_devices.divide(min(cpu_devices.device_count(config.parallel.cpu_devices), pictures))


def make_run_layout(config: ConfigDict, pictures: int) -> Layout:
  """The layout of a run on this process's devices.

  Args:
    config: `parallel`.
    pictures: how many there are in all, done or not: no more devices or places than they need, and
      the same after an interruption, as a processor's arithmetic depends on its devices' number.

  Raises:
    SettingsError: there are fewer devices, or the batch cannot be split over them.
  """
  parallel = config.parallel
  devices = setup.chosen_devices('parallel.devices', parallel.devices)
  if parallel.split == 'samples':
    if config.sampling.batch_size % len(devices):
      raise SettingsError(
        f'parallel.split=samples: expected sampling.batch_size={config.sampling.batch_size} to be '
        f'a multiple of the {len(devices)} devices (parallel.devices)'
      )
  else:
    devices = devices[: max(1, pictures)]
  per_device = min(parallel.instances_per_device, -(-max(1, pictures) // len(devices)))
  return make_layout(devices, per_device=per_device, split=parallel.split, form=parallel.form)


class _Failures:
  """What is wrong with pictures, where data.on_error=skip passes over them."""

  def __init__(self, config):
    self._skip = config.data.on_error == 'skip'
    self.reasons: dict[str, str] = {}

  @contextlib.contextmanager
  def noted(self, name):
    """Notes what the block raises about a picture; with data.on_error=stop it is raised."""
    try:
      yield
    except (DataError, FitError) as error:
      if not self._skip:
        raise
      self.reasons[name] = str(error)
      print(f'passed over: {error}', file=sys.stderr)


class _Groups:
  """Fits pictures group by group and writes the results of each."""

  def __init__(self, preparation: Preparation, fitter: Fitter, failures: _Failures):
    self._preparation, self._fitter, self._failures = preparation, fitter, failures

  def run(self, waiting: Sequence[int], clock: Stopwatch):
    """Reconstructs the pictures of these numbers; the first is charged with `clock`."""
    done = 0
    for jobs in self._ready(waiting):
      jobs[0].clock.seconds |= clock.seconds
      clock.seconds.clear()
      self._reconstruct(jobs)
      done += len(jobs)
      if len(waiting) > len(jobs):
        failed = len(self._failures.reasons)
        left = max(0, len(waiting) - done - failed)
        told = f', {failed} failed' if failed else ''
        print(f'{done} done{told}, {left} left', file=sys.stderr)

  def _ready(self, waiting) -> Iterator[list[Job]]:
    """Pictures that can be fitted side by side, as many as there is room for."""
    ready: dict[tuple, list[Job]] = {}
    for number in waiting:
      with self._failures.noted(self._preparation.pictures.names[number]):
        job = prepare(self._preparation, number)
        kind = job.kind()
        group = ready.setdefault(kind, [])
        group.append(job)
        if len(group) == self._fitter.layout.pictures:
          yield ready.pop(kind)
    yield from ready.values()

  def _reconstruct(self, jobs: list[Job]):
    config, shared = self._preparation.config, self._preparation.shared
    for job, fit in zip(jobs, self._fitter.fit(jobs), strict=True):
      with self._failures.noted(job.picture.name):
        if fit.error:
          raise fit.error
        with job.clock.part('results'):
          write_picture(config, shared, job, fit)
        assert job.folder is not None  # jobs of a run have both
        assert job.checkpoints is not None
        finished.finish(job.folder, job.clock.seconds, job.inputs)
        job.checkpoints.remove()


def _write_summary(workdir, rows, failed, *, changed):
  """Writes the table, the page and what failed."""
  if failed:
    print(f'{len(rows)} done, {len(failed)} failed: {", ".join(failed)}', file=sys.stderr)
    atomic_files.write_json(workdir / 'failed.json', failed)
  else:
    (workdir / 'failed.json').unlink(missing_ok=True)
  names = [row['name'] for row in rows]
  if not rows or not (changed or not finished.is_current(workdir, names)):
    return
  evaluation.write_metrics(workdir / 'metrics.csv', rows)
  artefacts.write_page(workdir, names)


def _write_missing(config, workdir, pictures, done) -> bool:
  """Writes what is asked for now and was not when pictures were done; whether there was any."""
  lacking = [k for k in done if missing_kinds(config, workdir / pictures.names[k])]
  if not lacking:
    return False
  find_mask = mask_finder(config)
  for number in lacking:
    name = pictures.names[number]
    try:
      written = write_missing(config, pictures[number], workdir / name, find_mask)
    except DataError as error:  # what is done stays done
      print(f'{name}: nothing could be added to its results: {error}', file=sys.stderr)
    else:
      print(f'{name}: {", ".join(written)} written from its factors', file=sys.stderr)
      if 'videos' in written and lacks_gan_videos(config, workdir / name):
        print(
          f'{name}: views and lights through the GAN are not among them, as the encoder of its fit '
          f'is not kept: to have them, remove {workdir / name / "timing.json"}, and the same '
          'command fits it again',
          file=sys.stderr,
        )
  return True


def _forget_checkpoints(folder):
  """Removes what was only needed to get to the results, left by a kill after the last of them."""
  if (folder / 'checkpoints').exists():
    Checkpoints(folder / 'checkpoints').remove()


def _first(pair):
  return pair[0]
