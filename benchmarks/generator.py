"""How fast the embedded GAN makes images, beside other ways to compute the same.

  python -m benchmarks.generator --batches 1 8 16 --json=generator.json

What differs is the modulated convolution. Ours scales what goes into and comes out of a convolution
that all samples share, and splits upsampling in phases. The others: the shared convolution with
upsampling in its plain form (zeros put in between, then blurred); a kernel for every sample under
`vmap`; the same as one grouped convolution with plain upsampling, which is how the method's authors
do it; and plain PyTorch where it is installed (`support/torch_gan.py`). flaxmodels 0.1.3 is not
among them: it does not run on jax 0.10 (`jnp.reshape` has lost an argument). All take the same
weights, latents and noise, and take turns in each round. 'and backward' is the gradient of the mean
square to the latents of each layer. Differences are the largest, against ours' largest value.
"""

import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.support import commands, convolutions, machine, results, subjects, torch_calls
from benchmarks.support.convolutions import WAYS
from benchmarks.support.timing import measure_in_turns
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline.frozen_weights import load_frozen

PASSES = 'forward', 'and backward'


def measure_batch(params: dict, batch: int, options) -> list[dict]:
  """A row for each way and pass at one batch size."""
  width, layers = stylegan2.latent_size(params), stylegan2.num_layers(params)
  z = jax.random.normal(jax.random.key(batch), (batch * layers, width))
  latents = stylegan2.mapping(params, z).reshape(batch, layers, width)
  calls, memory = {}, {}
  for way in options.ways:
    convolve = WAYS[way]

    def show(params, latents, convolve=convolve):
      if convolve is convolutions.ours:  # the product's own
        return stylegan2.synthesize(params, latents)
      return convolutions.synthesize(params, latents, convolve)

    loss = lambda latents, params, show=show: jnp.square(show(params, latents)).mean()
    forward = lambda latents, params, show=show: show(params, latents)
    for name, function in zip(PASSES, (forward, jax.grad(loss)), strict=True):
      compiled = jax.jit(function).lower(latents, params).compile()
      memory[way, name] = compiled.memory_analysis().temp_size_in_bytes / 2**20
      calls[way, name] = lambda compiled=compiled: jax.block_until_ready(compiled(latents, params))
  cores = machine.describe()['cores']
  for name, call in torch_calls.generator_calls(params, np.asarray(latents), cores).items():
    calls['PyTorch', name] = call
  results = {name: np.asarray(call()) for name, call in calls.items()}
  taken = measure_in_turns(calls, options.rounds, options.seconds)
  return [
    {
      'way': way,
      'pass': name,
      'batch': batch,
      'seconds': seconds,
      'images_a_second': batch / seconds,
      'times_ours': seconds / taken['ours', name],
      'temp_mib': memory.get((way, name)),
      'difference': _difference(results[way, name], results['ours', name]),
    }
    for (way, name), seconds in taken.items()
  ]


def _difference(found, wanted):
  return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__, seconds=0.2)
  parser.add_argument('--batches', type=int, nargs='+', default=[1, 8, 16])
  parser.add_argument('--ways', nargs='+', default=list(WAYS), choices=WAYS, metavar='WAY')
  options = parser.parse_args(arguments)
  options.ways = ['ours', *(way for way in options.ways if way != 'ours')]
  result = results.begin('generator', arguments, options.rounds)
  params = load_frozen(subjects.load_config(options.config)).generator
  result['setting'] = {'resolution': stylegan2.resolution(params)}
  for batch in options.batches:
    print(f'batch {batch} ...', file=sys.stderr, flush=True)
    result['rows'] += measure_batch(params, batch, options)
    results.keep(result, options.json)
  return results.finish(result, _format(result), options.json)


def _format(result):
  lines = [
    f'images of {result["setting"]["resolution"]} px',
    '',
    f'{"":26}{"":13}{"batch":>6}{"ms":>9}{"images/s":>10}{"x ours":>8}{"temp MiB":>10}'
    f'{"difference":>12}',
  ]
  for row in result['rows']:
    memory = '-' if row['temp_mib'] is None else f'{row["temp_mib"]:.1f}'
    lines.append(
      f'{row["way"]:26}{row["pass"]:13}{row["batch"]:6d}{1e3 * row["seconds"]:9.2f}'
      f'{row["images_a_second"]:10.1f}{row["times_ours"]:8.2f}{memory:>10}{row["difference"]:12.1e}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
