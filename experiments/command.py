"""The flags and the start of the commands here; they are the installed command's.

`python experiments/NAME.py` runs a function (config, workdir, stop) -> text to print by

  if __name__ == '__main__':
    import command

    flags.adopt_module_key_flags(command)  # --help shows them
    command.launch(work)
"""

from absl import flags

from gan2shape_jax.cli import launching
from gan2shape_jax.cli.launching import launch, parse

__all__ = ['launch', 'parse']

flags.adopt_module_key_flags(launching)
