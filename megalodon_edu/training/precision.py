"""The number format of matrix products: bfloat16 where the hardware multiplies it, else float32."""

from contextlib import AbstractContextManager

import torch

from megalodon_edu.arguments import require_choice
from megalodon_edu.training.options import PRECISIONS


def multiplies_bfloat16(device: torch.device) -> bool:
    """Say whether the device has instructions for bfloat16 products (elsewhere they are emulated, and slow)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def choose_precision(precision: str, device: torch.device) -> tuple[torch.dtype, str]:
    """Return the format for "auto", "float32" or "bfloat16", and one sentence that says why.

    Raises ValueError for another word.
    """
    require_choice("precision", precision, PRECISIONS)
    if precision != "auto":
        return getattr(torch, precision), f"Matrix products in {precision}, as asked."
    if multiplies_bfloat16(device):
        return torch.bfloat16, f"Matrix products in bfloat16: this {device.type} multiplies it natively."
    return torch.float32, f"Matrix products in float32: this {device.type} has no bfloat16 instructions."


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager:
    """Return the context in which matrix products run in `dtype`; parameters stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
