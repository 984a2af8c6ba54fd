#!/usr/bin/env bash
# Starts the same run on every host of a Cloud TPU pod slice; call it again to go on after a
# preemption. The folder of the results must be the same place for all hosts (a Filestore or
# gcsfuse mount).
#
#   experiments/launch_tpu_pod.sh my-tpu us-central2-b /mnt/shared/gan2shape_jax \
#     --config=configs/celeba.py --config.data.images=/mnt/shared/photos --workdir=/mnt/shared/runs
set -euo pipefail

if [ "$#" -lt 4 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
name=$1 zone=$2 project=$3
shift 3

quoted=$(printf ' %q' "$@")
command="cd $(printf %q "$project") && python3 -m venv --system-site-packages ~/gan2shape \
&& ~/gan2shape/bin/pip install -q -e . 'jax[tpu]' \
&& exec ~/gan2shape/bin/python experiments/run.py$quoted"

exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$command"
