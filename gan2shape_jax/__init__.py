"""Unsupervised 3D shape from a 2D image GAN, in JAX."""

__version__ = '0.1.0'
