"""Measures the reconstruction against the true depth, beside what looks at no picture.

  python experiments/evaluate.py --workdir=runs/heads                  the embedded heads
  python experiments/evaluate.py --config.data.images=/my/heads --workdir=runs/my_heads
  python experiments/evaluate.py --config.data.images=/my/heads --baselines_only

Reconstructs all pictures as experiments/run.py does, with the same flags (finished ones are passed
over), and writes one table into the folder: evaluation.csv and evaluation.md. Its rows:

  constant depth        the same depth everywhere
  mean true depth       of all true maps of the pictures' folder, whatever part of it is evaluated;
                        an oracle, as the true depths are looked at
  ellipsoid             the prior's cap in the box of the region, over several ranges of depth,
                        seen in the picture's frame without a view
  start                 the configuration's prior in the box of the picture's own mask
  initial networks      starting networks that come trained, without any fit to the picture
  reconstruction        the method

  python experiments/evaluate.py --table=true_views --workdir=runs/true_views

takes the GAN out of the question: step 3 alone, from the starting networks, on rendered heads whose
true pictures from other views stand for the projections; with the views as they are, and with
errors of --pitch_error and --yaw_error degrees in them. Fits networks as long as the first stage
says, or (fit.factors=direct) the factors for --fit_iterations with the default rates and weights of
config.fit, not those by which a configuration holds back a GAN's errors. Writes
true_views.csv and true_views.md; a head that is finished is passed over. Needs
`pip install 'gan2shape_jax[heads]'`.

  python experiments/evaluate.py --table=projections --judge=runs/judge/view_judge.safetensors \\
      --config.data.images=/my/heads --config.data.num=20 --workdir=runs/projections

measures projections after step 2 of the first stage: whether the views that a judge tells
(experiments/train_view_judge.py) follow those drawn, how far the projections are from their pseudo
samples, and whether they still show the picture's head. Writes projections.csv and projections.md;
a picture that is finished is passed over.
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

import pathlib
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

from gan2shape_jax.errors import SettingsError

_TABLE = flags.DEFINE_enum(
  'table', 'depth', ['depth', 'true_views', 'projections'], 'what is measured'
)
_HEADS = flags.DEFINE_integer('heads', 20, 'true_views: how many heads')
_VIEWS = flags.DEFINE_integer('views', 160, 'true_views: true pictures of each, in whole batches')
_BED_SEED = flags.DEFINE_integer('bed_seed', 77, 'true_views: of heads, views and errors')
_PITCH = flags.DEFINE_float('pitch_error', 5.0, 'true_views: deviation of the pitch, degrees')
_YAW = flags.DEFINE_float('yaw_error', 7.0, 'true_views: deviation of the yaw, degrees')
_FIT_ITERATIONS = flags.DEFINE_integer(
  'fit_iterations', 400, 'true_views: of step 3 where fit.factors=direct'
)
_JUDGE = flags.DEFINE_string(
  'judge', '', 'projections: the file of experiments/train_view_judge.py'
)
_BASELINES_ONLY = flags.DEFINE_bool(
  'baselines_only', False, 'measure only what needs no reconstruction'
)


def true_views_table(
  config: ConfigDict, workdir, bed, stop: Callable[[], bool] = lambda: False
) -> pathlib.Path:
  """Measures step 3 on true pictures of heads.

  Args:
    config: a whole configuration.
    workdir: folder of the table; finished heads are kept in its folder true_views.
    bed: a `true_pictures.Bed`.
    stop: asked before each head whether to end.

  Returns:
    The file with the means.

  Raises:
    DataError: the extra `heads` is not installed; and whatever `true_views.measure_all` raises.
  """
  from gan2shape_jax import head_rendering
  from gan2shape_jax.instruments import fits, true_pictures, true_views
  from gan2shape_jax.pipeline import assembly, config_checks, setup
  from gan2shape_jax.runtime.progress import Progress
  from gan2shape_jax.storage import workdir as folders
  from gan2shape_jax.storage.atomic_files import write_text

  config_checks.check_config(config)
  true_pictures.check_bed(bed, setup.settings_from_config(config))
  model = head_rendering.load_model()
  kept = pathlib.Path(workdir) / 'true_views'
  claim = folders.check_workdir(kept, config)
  shared = assembly.assemble(config)
  maker = head_rendering.HeadMaker(
    model, head_rendering.Settings(config.image_size, bed.seed, true_pictures.VIEW_SCALE)
  )
  batches = bed.views // shared.settings.batch_size
  step3 = fits.first_step3(shared, batches=batches, iterations=bed.iterations)
  write_text(kept / 'config.json', claim)
  rows = true_views.measure_all(
    step3, maker, bed, shared.settings, shared.frozen.mean_latent, kept,
    tell=Progress(bed.heads, label='head').note, stop=stop,
  )  # fmt: skip
  return true_views.write_tables(workdir, rows)


def projections_table(
  config: ConfigDict, workdir, judge: str, stop: Callable[[], bool] = lambda: False
) -> pathlib.Path:
  """Measures projections of a configuration's pictures.

  Args:
    config: a whole configuration.
    workdir: folder of the table; finished pictures are kept in its folder projections.
    judge: file of the judge of views.
    stop: asked whether to end.

  Returns:
    The file with the table.

  Raises:
    SettingsError: no judge is named; and whatever `projection_table.measure_all` raises.
  """
  from gan2shape_jax.instruments import projection_table
  from gan2shape_jax.runtime.progress import Progress

  if not judge:
    raise SettingsError("--judge='': expected the file of experiments/train_view_judge.py")
  tell = Progress(1, label='projections of').note
  rows = projection_table.measure_all(config, workdir, judge, tell=tell, stop=stop)
  return projection_table.write_tables(workdir, rows)


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: measures, writes the table and returns it with the file's name."""
  if _TABLE.value == 'projections':
    path = projections_table(config, workdir, _JUDGE.value, stop)
    return f'{path.read_text()}\nwritten: {path}'
  if _TABLE.value == 'true_views':
    from gan2shape_jax.instruments.true_pictures import Bed

    errors = _PITCH.value, _YAW.value
    bed = Bed(_HEADS.value, _VIEWS.value, _BED_SEED.value, *errors, _FIT_ITERATIONS.value)
    path = true_views_table(config, workdir, bed, stop)
    return f'{path.read_text()}\nwritten: {path}'
  from gan2shape_jax.instruments import depth_table

  rows = depth_table.evaluate_all(config, workdir, baselines_only=_BASELINES_ONLY.value, stop=stop)
  depth_table.write_table(workdir, rows)
  return f'{depth_table.format_rows(rows)}\n\nwritten: {pathlib.Path(workdir) / "evaluation.md"}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  command.launch(work)
