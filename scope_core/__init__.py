"""SCOPE: training-free acceleration of autoregressive video diffusion (arXiv 2604.02979)."""

__version__ = "0.1.0"
