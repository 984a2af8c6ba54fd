"""How fast the steps of a reconstruction are, what they compile in, and what the renderer costs.

  python -m benchmarks.steps --json=steps.json                     the embedded heads
  python -m benchmarks.steps --config=configs/heads.py:published   published widths and batch

Measures the programs that a run uses (`assembly.assemble`), on the configuration's first picture:
the median of several rounds after compilation, each round waited for. Beside them stands a fixed
workload in JAX, so that figures of different days and machines compare as ratios to it. Where
PyTorch is installed, a second workload that was timed beside the original implementation scales
the original's seconds to this machine. Measure on a machine that does nothing else: the load
average at the start is printed.
"""

import os
import statistics
import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from benchmarks import measuring
from benchmarks.calibration import calibrate, calibrate_torch
from benchmarks.measuring import Effort, Timing, measure, stepping
from gan2shape_jax import data, renderer
from gan2shape_jax.pipeline.assembly import Assembly, assemble
from gan2shape_jax.reconstruction import autoencoder, priors

# Seconds an iteration of the original on two cores, at published widths, 64 px, batch 16 and
# without its perceptual term; the PyTorch workload took CALIBRATION seconds there.
ORIGINAL = {'step 1': 0.28, 'step 2': 1.4, 'step 3': 0.82}
ORIGINAL_CALIBRATION = 0.250


def measure_steps(config: ConfigDict, shared: Assembly, effort: Effort) -> dict[str, Timing]:
  """Times every program of a reconstruction on the configuration's first picture.

  Args:
    config: a whole configuration.
    shared: its assembly.
    effort: how long to measure.

  Returns:
    Name -> timing of one iteration.
  """
  programs, frozen, plan = shared.programs, shared.frozen, shared.plan
  instance = jax.device_put(measuring.first_instance(config, frozen))
  latent, mask = instance.latent, instance.mask
  params, key = measuring.starting_params(shared, instance), jax.random.key(config.seed)
  fresh = lambda step: programs.fresh(jax.tree.map(jnp.copy, params), step)
  timings = {}

  def add(name, call):
    print(f'{name} ...', file=sys.stderr, flush=True)
    timings[name] = measure(call, effort)

  if programs.begin is None:  # else no network is trained to the prior
    target = jnp.asarray(priors.prior_depth(mask, category=config.prior.category))
    fit_prior = lambda state: programs.fit_prior(state, instance.image, target)
    add('prior fit', stepping(fit_prior, fresh(0)))
  for flip in effort.flips:
    suffix = ' flip' if flip else ''
    observe = lambda flip=flip: programs.observe(params, instance, frozen, flip=flip)
    add(f'observe{suffix}', observe)
    scene = observe()
    step1 = lambda state, scene=scene: programs.step1(state, scene, instance, frozen)
    add(f'step 1{suffix}', stepping(step1, fresh(1)))
  add('origin', lambda: programs.origin(params, instance, frozen))
  origin = programs.origin(params, instance, frozen)
  step2 = lambda state: programs.step2(state, origin, latent, key, frozen, 0)
  add('step 2', stepping(step2, fresh(2)))
  given = params, origin, latent, key, frozen, 0
  collect = lambda: programs.collect(*given)
  add('collect', collect)
  if plan.refine_iterations:
    refine = lambda state: programs.refine(state, frozen)
    add('refine', stepping(refine, programs.refine_begin(*given)))
  projections = jax.tree.map(lambda x: jnp.stack([x] * plan.collect_iters), collect())
  for flip in effort.flips:
    suffix = ' flip' if flip else ''
    step3 = lambda state, flip=flip: programs.step3(
      state, instance, projections, frozen, 0, 0.5, flip=flip
    )
    add(f'step 3{suffix}', stepping(step3, fresh(3)))
  add('factors', lambda: programs.factors(params, instance, frozen))
  return timings


def calls_of_plan(plan) -> dict[str, int]:
  """How often a reconstruction calls each program of `measure_steps`."""
  calls = {'prior fit': plan.prior_iterations, 'factors': 1}
  for stage in plan.stages:
    flip1, flip3 = (' flip' if flip else '' for flip in (stage.flip1, stage.flip3))
    for name, count in (
      (f'observe{flip1}', int(stage.step1 > 0)),
      (f'step 1{flip1}', stage.step1),
      ('origin', int(stage.step2 > 0) + int(stage.step3 > 0)),
      ('step 2', stage.step2),
      ('collect', plan.collect_iters if stage.step3 else 0),
      ('refine', plan.collect_iters * plan.refine_iterations if stage.step3 else 0),
      (f'step 3{flip3}', stage.step3),
    ):
      calls[name] = calls.get(name, 0) + count
  return {name: count for name, count in calls.items() if count}


def _scene(size):
  """Depth and albedo of an ellipsoid in the middle."""
  depth = jnp.asarray(priors.prior_depth(data.elliptic_mask(size), category='head'))
  return depth, jnp.broadcast_to(jnp.linspace(-0.5, 0.5, size)[:, None, None], (size, size, 3))


def measure_renderer(settings, size: int, effort: Effort) -> dict[str, Timing]:
  """Times the renderer alone: shading, geometry and sampling of a scene in many views.

  Args:
    settings: of the method.
    size: of the images, pixels.
    effort: how many views, and how long to measure.

  Returns:
    'forward' and 'forward and backward', the latter with the gradients of everything.
  """
  depth, albedo = _scene(size)
  yaws = (effort.views + 1) // 2
  views = renderer.turntable_views(40.0, yaws, 20.0, effort.views - yaws)
  code = jnp.array([0.0, 0.0, 0.3, -0.2])
  options = {
    'near': settings.min_depth - settings.depth_margin,
    'far': settings.max_depth + settings.depth_margin,
    'pixel_offset': settings.pixel_offset,
    'supersample': settings.supersample,
    'steps': settings.march_steps or None,
  }

  @jax.jit
  def forward(albedo, depth, code, views):
    light = renderer.light_from_code(code)
    show = lambda view: renderer.render(albedo, depth, light, view, settings.camera, **options)
    return jax.vmap(show)(views)

  def loss(*arrays):
    shown = forward(*arrays)
    return (shown.image**2).mean() + (shown.depth**2).mean()

  backward = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
  arrays = (albedo, depth, code, views)
  return {
    'forward': measure(lambda: forward(*arrays), effort),
    'forward and backward': measure(lambda: backward(*arrays), effort),
  }


def measure_step3_renderer(config: ConfigDict, settings, effort: Effort, *, flip: bool) -> Timing:
  """Times what step 3 renders in an iteration, forward and backward, without networks and losses.

  Args:
    config: a whole configuration.
    settings: of the method.
    effort: how long to measure.
    flip: whether the mirrored shape is rendered too.

  Returns:
    The timing at the batch of projections and the picture itself.
  """
  count = settings.batch_size + 1
  depth, albedo = _scene(config.image_size)
  depths = jnp.stack([depth, autoencoder.mirror(depth)][: 1 + flip])
  albedos = jnp.stack([albedo, autoencoder.mirror(albedo)][: 1 + flip])
  views = renderer.turntable_views(40.0, count, 0.0, 0)
  lights = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.3, -0.2]), (count, 4))

  def loss(depths, albedos, views, lights):
    def one(depth, albedo):
      shapes = jax.vmap(lambda view: autoencoder.geometry(depth, view, settings))(views)
      return jax.vmap(autoencoder.shade_and_sample, (None, 0, 0))(albedo, lights, shapes)

    return (jax.vmap(one)(depths, albedos) ** 2).mean()

  backward = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
  return measure(lambda: backward(depths, albedos, views, lights), effort)


def benchmark(config: ConfigDict, effort: Effort) -> dict:
  """Measures everything.

  Args:
    config: a whole configuration.
    effort: how long to measure.

  Returns:
    The report: plain numbers and strings, as written by `--json`.
  """
  load = os.getloadavg()[0]
  calibration = calibrate(effort.rounds)
  start = time.perf_counter()
  shared = assemble(config)
  jax.block_until_ready((shared.params, shared.frozen))
  assemble_seconds = time.perf_counter() - start
  settings = shared.settings
  timings = measure_steps(config, shared, effort)
  alone = {size: measure_renderer(settings, size, effort) for size in effort.sizes}
  shares = {}
  for flip in effort.flips:
    name = 'step 3 flip' if flip else 'step 3'
    part = measure_step3_renderer(config, settings, effort, flip=flip).seconds
    shares[name] = {'seconds': part, 'share': part / timings[name].seconds}
  calibration = statistics.median(calibration + calibrate(effort.rounds))
  calls = calls_of_plan(shared.plan)
  torch_seconds = calibrate_torch(max(effort.rounds, 7) if effort.rounds > 1 else 1)
  return {
    'machine': measuring.machine(load),
    'versions': measuring.versions(),
    'setting': {
      'image_size': config.image_size,
      'batch_size': settings.batch_size,
      'network_width': config.networks.width or 'published',
      'perceptual': settings.perceptual,
    },
    'calibration_seconds': calibration,
    'assemble_seconds': assemble_seconds,
    'steps': {
      name: {
        'seconds': timing.seconds,
        'iterations_a_second': 1 / timing.seconds,
        'times_calibration': timing.seconds / calibration,
        'compile_seconds': timing.compile_seconds,
        'calls_an_image': calls.get(name, 0),
      }
      for name, timing in timings.items()
    },
    'seconds_an_image': sum(timings[name].seconds * count for name, count in calls.items()),
    'compile_seconds_of_a_run': sum(timings[name].compile_seconds for name in calls),
    'renderer': {
      f'{effort.views} views of {size} px, {name}': {
        'seconds': timing.seconds,
        'times_calibration': timing.seconds / calibration,
        'compile_seconds': timing.compile_seconds,
      }
      for size, of_size in alone.items()
      for name, timing in of_size.items()
    },
    'renderer_in_step_3': shares,
    'peak_memory_mib': measuring.peak_memory(),
    'original': _against_original(timings, torch_seconds),
  }


def _against_original(timings, torch_seconds):
  if torch_seconds is None:
    return None
  scale = torch_seconds / ORIGINAL_CALIBRATION
  return {'torch_calibration_seconds': torch_seconds} | {
    name: {
      'original_seconds': seconds * scale,
      'seconds': timings[name].seconds,
      'times_faster': seconds * scale / timings[name].seconds,
    }
    for name, seconds in ORIGINAL.items()
  }


def format_report(report: dict) -> str:
  """The report as text for a terminal."""
  setting = report['setting']
  lines = [
    *measuring.heading(report),
    f'{setting["image_size"]} px, batch {setting["batch_size"]}, network width '
    f'{setting["network_width"]}, perceptual term: {setting["perceptual"]}',
    f'calibration: {report["calibration_seconds"]:.4f} s',
    '',
    f'{"":42}{"s":>9}{"it/s":>9}{"x calib":>9}{"compile s":>11}{"calls":>7}',
  ]
  for name, of_step in report['steps'].items():
    lines.append(
      f'{name:42}{of_step["seconds"]:9.4f}{of_step["iterations_a_second"]:9.1f}'
      f'{of_step["times_calibration"]:9.3f}{of_step["compile_seconds"]:11.1f}'
      f'{of_step["calls_an_image"]:7d}'
    )
  for name, of_part in report['renderer'].items():
    seconds = of_part['seconds']
    lines.append(
      f'{name:42}{seconds:9.4f}{1 / seconds:9.1f}{of_part["times_calibration"]:9.3f}'
      f'{of_part["compile_seconds"]:11.1f}'
    )
  lines.append('')
  for name, part in report['renderer_in_step_3'].items():
    lines.append(
      f'renderer in {name}: {part["seconds"]:.4f} s, {100 * part["share"]:.0f}% of an iteration'
    )
  memory = ', '.join(f'{where} {mib:.0f} MiB' for where, mib in report['peak_memory_mib'].items())
  lines += [
    f'an image: {report["seconds_an_image"]:.1f} s of iterations (results not written)',
    f'once a run: {report["compile_seconds_of_a_run"]:.1f} s of compilation, '
    f'{report["assemble_seconds"]:.1f} s of loading',
    f'peak memory: {memory}',
  ]
  original = report['original']
  if original is None:
    lines.append('PyTorch is not installed: no comparison with the original')
    return '\n'.join(lines)
  lines.append(f'PyTorch calibration: {original["torch_calibration_seconds"]:.4f} s')
  shape = (setting['image_size'], setting['batch_size'], setting['network_width'])
  if shape != (64, 16, 'published'):
    lines.append('the original below is at 64 px, batch 16 and published widths; these are not')
  for name in ORIGINAL:
    of_step = original[name]
    lines.append(
      f'{name}: {of_step["seconds"]:.3f} s, original scaled to this machine '
      f'{of_step["original_seconds"]:.3f} s (no perceptual term): {of_step["times_faster"]:.2f} '
      'times as fast'
    )
  return '\n'.join(lines)


def shrink(config: ConfigDict):
  """Makes everything tiny and leaves mirror images out, to see whether it runs."""
  config.networks.width = config.networks.bottleneck = config.networks.encoder_width = 4
  config.sampling.batch_size, config.sampling.collect_iters = 2, 1
  config.loss.discriminator_features, config.renderer.march_steps = 1, 2
  config.fit.finish = 0  # with mirror images
  for stage in (config.stages.first, config.stages.later):
    stage.flip1 = stage.flip3 = False


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command.

  Args:
    arguments: of the command line; None for the process's own.

  Returns:
    The report.
  """
  parser = measuring.parser(__doc__)
  parser.add_argument('--smoke', action='store_true', help='tiny: does it run at all?')
  options = parser.parse_args(arguments)
  config = measuring.load_config(options.config)
  effort = Effort(options.rounds, options.seconds)
  if options.smoke:
    shrink(config)
    effort = Effort(1, 0.0, 2, (16,), (False,))
  report = benchmark(config, effort)
  return measuring.show(report, format_report(report), options.json)


if __name__ == '__main__':
  jax.config.update('jax_enable_compilation_cache', False)  # compilation is measured
  main()
