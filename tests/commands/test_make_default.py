"""The script that makes the embedded default: what it calls, and the folder that it leaves."""

import os
import subprocess

from gan2shape_jax.data import embedded_path
from tests.support.command import ROOT

SCRIPT = ROOT / 'experiments' / 'make_default.sh'

# In place of Python: writes down what it is called with, and what the command would leave.
PYTHON = """#!/usr/bin/env bash
set -e
printf '%s ' "$(basename "$1")" "${@:2}" >> "$LOG"
echo >> "$LOG"
for argument; do case "$argument" in --workdir=*) workdir="${argument#--workdir=}" ;; esac; done
case "$1" in
  */train_gan.py)
    mkdir -p "$workdir/snapshots"
    touch "$workdir/snapshots/00020000.safetensors" "$workdir/snapshots/00200000.safetensors" ;;
  */convert_weights.py) touch "${@: -1}" ;;
  */pretrain.py) mkdir -p "$workdir"; touch "$workdir/networks.safetensors" ;;
  */invert.py) mkdir -p "$workdir"; touch "$workdir/latents.npz" ;;
esac
"""


def call(tmp_path, *given, **variables):
  python = tmp_path / 'bin' / 'python'
  python.parent.mkdir()
  python.write_text(PYTHON)
  python.chmod(0o755)
  path = f'{python.parent}{os.pathsep}{os.environ["PATH"]}'
  environment = os.environ | {'PATH': path, 'LOG': str(tmp_path / 'log')} | variables
  return subprocess.run(
    ['bash', str(SCRIPT), *given], capture_output=True, text=True, env=environment
  )


def test_the_folder_is_that_of_an_embedded_data_set(tmp_path):
  done = call(tmp_path, str(tmp_path / 'run'), '--config.seed=3', HEADS='16')
  assert done.returncode == 0, done.stderr
  embedded = {path.name for path in embedded_path('heads').iterdir()} - {'README.md'}
  assert {path.name for path in (tmp_path / 'run' / 'heads').iterdir()} == embedded
  lines = [line.split() for line in (tmp_path / 'log').read_text().splitlines()]
  called = {line[0].removesuffix('.py'): line[1:] for line in lines}
  assert [line[0] for line in lines].count('train_gan.py') == 2
  assert list(called) == ['render_heads', 'train_gan', 'convert_weights', 'pretrain', 'invert']
  assert '--config.gan_training.style_mixing=0' in called['train_gan']
  assert {name for name in called if '--config.seed=3' in called[name]} == {
    'train_gan', 'pretrain', 'invert'
  }  # fmt: skip
  assert '--num=16' in called['render_heads']
  assert any(flag.endswith('/00200000.safetensors') for flag in called['convert_weights'])
  weights = f'--config.gan.weights={tmp_path / "run" / "heads" / "stylegan2.safetensors"}'
  assert weights in called['pretrain']
  assert weights in called['invert']


def test_help(tmp_path):
  done = call(tmp_path, '--help')
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout.startswith('Makes what the package embeds')
