"""The algorithm: pure functions over the renderer and the networks' apply functions."""
