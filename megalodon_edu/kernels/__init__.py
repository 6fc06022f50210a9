"""Triton twins of the operators in `ops`, with the same signatures. `availability` says whether they can run.

This package imports without Triton. The modules of the kernels need it, and are imported when a kernel is asked for.
"""

from importlib import import_module
from typing import Any

from megalodon_edu.kernels.availability import require_installed

HOMES = {
    "chunked_attention_triton": "attention",
    "complex_ema_coefficients_triton": "complex_ema_coefficients",
    "complex_ema_triton": "complex_ema",
    "decode_attention_triton": "decode_attention",
    "layer_norm_triton": "layer_norm",
    "linear_cross_entropy_triton": "cross_entropy",
    "rms_norm_triton": "layer_norm",
    "memory_step_triton": "decode_memory",
    "timestep_norm_triton": "timestep_norm",
}
"""The module of each kernel."""


def __getattr__(name: str) -> Any:
    """Import a kernel's module. Raises ImportError where Triton is not installed."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_installed()
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
