"""Reconstructs 3D shape from pictures.

  python experiments/run.py                                   the embedded heads, into runs/heads
  python experiments/run.py --config.data.images=/my/photos --workdir=runs/photos
  python experiments/run.py --config=configs/heads.py:published --config.stages.count=1
  python experiments/run.py --config.mode=joint --config.data.images=/photos --workdir=runs/joint

--config.mode=joint trains the networks jointly on all pictures; single pictures start from what
it writes with --config.networks.pretrained=runs/joint/networks.safetensors.

Every number of the configuration can be set by a flag, --config.SECTION.NAME=VALUE; the names are
explained in gan2shape_jax/config.py. The same command continues an interrupted run; SIGTERM stops
a run within seconds, saved. Started alike on many hosts, each fits its share (docs/devices.md).
"""

if __name__ == '__main__':
  from gan2shape_jax.cli import interruption  # noqa: F401, before the imports that take long

from absl import flags

from gan2shape_jax.cli.running import work

if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  command.launch(work, many_hosts=True)
