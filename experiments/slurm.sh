#!/usr/bin/env bash
# An example of a Slurm job: one process a node, each with all of its GPUs.
#
#   sbatch experiments/slurm.sh --config=configs/celeba.py --config.data.images=/photos \
#     --workdir=/shared/runs/photos
#
# Preempted or out of time, it is told by SIGTERM 60 seconds before, saves, and is queued again.
#SBATCH --job-name=gan2shape
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

srun --kill-on-bad-exit=1 python experiments/run.py "$@" || status=$?
# A run that saved and ended leaves no table: it goes on in the next job.
workdir=$(printf '%s\n' "$@" | sed -n 's/^--workdir=//p')
if [ "${status:-0}" = 0 ] && [ ! -f "${workdir:-runs/heads}/metrics.csv" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "${status:-0}"
