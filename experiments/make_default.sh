#!/usr/bin/env bash
# Makes what the package embeds for heads from nothing: renders heads, trains the GAN, then the
# starting networks on its pictures, and finds the latents of the embedded heads.
#
#   experiments/make_default.sh runs/default
#   python experiments/run.py --config.data.images=runs/default/heads \
#       --config.gan.weights=runs/default/heads/stylegan2.safetensors \
#       --config.networks.pretrained=runs/default/heads/networks.safetensors
#
# FOLDER/heads is laid out as gan2shape_jax/embedded/heads. Further flags (--config.NAME=VALUE) go to
# every command that takes a configuration; HEADS and IMAGES_SHOWN are the numbers of heads
# rendered and of images shown in the training. The same command goes on after an interruption.
set -euo pipefail
if [ $# = 0 ] || [ "${1#-}" != "$1" ]; then
  sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "${BASH_SOURCE[0]}"
  [ "${1:-}" = --help ] && exit 0 || exit 2
fi
folder="$1"
shift
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
embedded="$here/gan2shape_jax/embedded/heads"
run() { python "$here/experiments/$1.py" "${@:2}"; }

run render_heads --output="$folder/train" --num="${HEADS:-64000}" --images_only
# The last part without mixed latents: reconstruction has one latent for all layers.
shown="${IMAGES_SHOWN:-300000}"
mixed=$((shown * 13 / 15))
train() {
  run train_gan --config="$here/configs/train_heads.py" --workdir="$folder/gan" \
    --config.gan_training.images="$folder/train-*.npz" "$@"
}
train --config.gan_training.images_shown="$mixed" \
  --config.gan_training.decay_images=$((shown / 5)) "$@"
train --config.gan_training.images_shown="$shown" \
  --config.gan_training.decay_images=$((shown - mixed)) --config.gan_training.style_mixing=0 "$@"

heads="$folder/heads"
mkdir -p "$heads"
cp -R "$embedded"/{image,mask,head_mask,depth,prior.npz} "$heads"
snapshots=("$folder"/gan/snapshots/*.safetensors)
run convert_weights --kind=stylegan2 --dtype=float16 "${snapshots[-1]}" "$heads/stylegan2.safetensors"

given=(--config="$here/configs/heads.py" --config.gan.weights="$heads/stylegan2.safetensors")
# Networks trained on another snapshot's pictures are not taken for this one's.
networks="$folder/networks_$(basename "${snapshots[-1]}" .safetensors)"
run pretrain "${given[@]}" --workdir="$networks" "$@"
cp "$networks/networks.safetensors" "$heads"
run invert "${given[@]}" --config.data.images="$heads" --workdir="$folder/latents" "$@"
cp "$folder/latents/latents.npz" "$heads"
echo "heads: $heads"
