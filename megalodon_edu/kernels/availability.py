"""Whether Triton kernels can run here: on a CUDA GPU, or slowly on a CPU in Triton's interpreter."""

import os
from functools import cache
from importlib import metadata
from importlib.util import find_spec

import torch

LEAST_CAPABILITY = (8, 0)
"""The oldest CUDA compute capability with bfloat16 tensor cores (Ampere)."""

LEAST_INTERPRETER = (3, 7)
"""Older interpreters fail in loops with run-time bounds under NumPy 2.4 and later."""


def require_installed() -> None:
    """Raise ImportError unless the package triton is installed."""
    if find_spec("triton") is None:
        raise ImportError(
            "Triton kernels need the package triton, which has wheels for Linux only: "
            "pip install 'megalodon-edu[kernels]', or use the torch face"
        )


@cache
def interpreting() -> bool:
    """Whether kernels run in the interpreter: TRITON_INTERPRET=1 was set before triton was imported first."""
    require_installed()
    from triton.language import standard
    from triton.runtime.jit import JITFunction

    return not isinstance(standard.sum, JITFunction)


def why_not(device: torch.device | str) -> str | None:
    """Return a sentence that says why no kernel runs on this device, or None if kernels do.

    torch.compile asks once, while it traces.
    """
    return _why_not(torch.device(device))


# What torch.compiler.assume_constant_result does, without its import of the whole compiler.
why_not._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _why_not(device: torch.device) -> str | None:
    try:
        require_installed()
    except ImportError as error:
        return str(error)
    if interpreting():
        version = metadata.version("triton")
        if tuple(int(word) for word in version.split(".")[:2]) < LEAST_INTERPRETER:
            least = ".".join(map(str, LEAST_INTERPRETER))
            return f"Triton's interpreter works from version {least} on, found {version}; pip install 'triton>={least}'"
        return None
    if device.type == "cpu":
        late = " (it is set now, but was not when triton was imported)" if os.environ.get("TRITON_INTERPRET") else ""
        return (
            f"Triton kernels run on a CPU only in its interpreter: set TRITON_INTERPRET=1 before Python starts{late}, "
            "move the tensors to a CUDA GPU, or use the torch face"
        )
    if device.type != "cuda":
        return f"Triton kernels run on cuda and cpu, got {device.type}; use the torch face"
    if not torch.cuda.is_available():
        return "the Triton kernels need a CUDA GPU, and PyTorch finds none; use the torch face"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        least, found = (".".join(map(str, numbers)) for numbers in (LEAST_CAPABILITY, capability))
        return f"the Triton kernels need a GPU of compute capability {least}, got {found}; use the torch face"
    return None


def require_kernels(device: torch.device | str) -> None:
    """Raise RuntimeError unless kernels run on this device."""
    if reason := why_not(device):
        raise RuntimeError(reason)
