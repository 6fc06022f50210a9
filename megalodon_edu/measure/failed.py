"""Why one row of a table could not be measured, in one sentence; the other rows go on."""

import torch


def why_it_failed(error: Exception, compiling: bool = False) -> str:
    """Out of memory, does not compile, or the error's own first line."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0][:160] if lines else 'no message'}"
    return f"does not compile ({said})" if compiling else said
