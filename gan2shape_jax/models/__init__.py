"""Networks: flax modules and pure layers, channels last, images in [-1, 1]."""
