"""What is kept on disk between runs: atomic files, curves, checkpoints, arrays, the work folder."""
