"""Build Megalodon, a long-context language model, from a moving average to Triton kernels."""

__version__ = "0.1.0"
