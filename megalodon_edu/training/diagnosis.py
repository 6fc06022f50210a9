"""What to say when a number stops being a number."""

from pathlib import Path

import torch
from torch import Tensor, nn


class NonFiniteError(RuntimeError):
    """The loss, a gradient or a parameter became infinite or NaN; the message says where and what to try."""


def first_not_finite(model: nn.Module) -> str | None:
    """Name the first parameter with a value, else the first with a gradient, that is infinite or NaN."""
    for what, tensors in (
        ("the parameter", [(name, p) for name, p in model.named_parameters()]),
        ("the gradient of", [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]),
    ):
        for name, tensor in tensors:
            if not _finite(tensor):
                return f"{what} {name}"
    return None


def diagnose(model: nn.Module, step: int, symptom: str, rate: float, checkpoint: Path | None) -> NonFiniteError:
    """Return the error for step `step`, with what is known and what to try."""
    culprit = first_not_finite(model)
    found = f"First that is not finite, in the model's order: {culprit}." if culprit else "All parameters are finite."
    kept = f"The last good checkpoint is {checkpoint}." if checkpoint else "No checkpoint had been written yet."
    return NonFiniteError(
        f"Training stopped at step {step}: {symptom} at learning rate {rate:.3g}. {found} "
        f"Try a learning rate of {rate / 3:.1g}, a longer warm-up, or precision float32. {kept}"
    )


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())
