"""Unsupervised 3D shape from a 2D image GAN.

  gan2shape-jax run --config.data.images=/my/photos --workdir=runs/photos
  gan2shape-jax run --config=heads:networks --config.stages.count=1
  gan2shape-jax predict --config.data.images=/my/photos

run       reconstructs each picture; with --config.mode=joint trains the networks on all of them
predict   one look by trained networks instead of a fit: run --config.mode=predict

--config names a preset, one of its variants (heads:networks) or a file with get_config(); presets:
{presets}.
Every number of a configuration can be set by a flag, --config.SECTION.NAME=VALUE;
gan2shape_jax/config.py explains each. The same command continues an interrupted run; SIGTERM stops
a run within seconds, saved.
"""

import sys

from absl import flags

from gan2shape_jax import __version__, presets
from gan2shape_jax.cli import launching, running

_COMMANDS = {'run': (), 'predict': ('--config.mode=predict',)}
_HELP = ('help', '-h', '-help', '--help', '--helpshort', '--helpfull')


def main() -> None:
  """The console command `gan2shape-jax`; ends the process."""
  program, *given = sys.argv
  if any(argument in _HELP for argument in given):
    print(_help())
    sys.exit(0)
  if given[:1] == ['--version']:
    print(__version__)
    sys.exit(0)
  name = given[0] if given else ''
  if name not in _COMMANDS:
    known = ', '.join(_COMMANDS)
    print(f'error: unknown command {name!r}: expected one of {known} (--help)', file=sys.stderr)
    sys.exit(2)
  # What is given later wins, so a mode of the user's own would make another command of this one.
  # Changes of a configuration are looked for in sys.argv, wherever flags are parsed from.
  sys.argv = [program, *given[1:], *_COMMANDS[name]]
  launching.launch(running.work, many_hosts=True)


def _help():
  text = __doc__.format(presets=', '.join(presets.names()))
  return f'{text}\n{flags.FLAGS.module_help(launching.__name__)}'


if __name__ == '__main__':
  main()
