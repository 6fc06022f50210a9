"""Which face of an operator a module runs, and the guard around float32 parameters."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from megalodon_edu.arguments import require_choice
from megalodon_edu.kernels.availability import require_installed, require_kernels, why_not

BACKENDS = ("auto", "reference", "torch", "triton")
KERNEL_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def choose(backend: str) -> str:
    """Return the name unchanged, if it is known and can ever work here. `uses_triton` then decides call by call.

    "auto" takes the kernels where they run on the tensor's CUDA device and know its type, else the torch face.
    "reference" is the readable loop, "torch" the fast face, "triton" the kernels and nothing else.
    Raises ValueError for an unknown name; for "triton" ImportError where the package triton is missing, and
    RuntimeError where kernels run neither on a GPU nor, in Triton's interpreter, on the CPU.
    """
    require_choice("backend", backend, BACKENDS)
    if backend == "triton":
        require_installed()
        if why_not("cpu") and (reason := why_not("cuda")):
            raise RuntimeError(f'backend "triton": {reason}')
    return backend


def uses_triton(backend: str, x: Tensor) -> bool:
    """Whether a module with this backend runs a Triton kernel on x.

    "auto" does on a CUDA tensor in float32, float16 or bfloat16 where kernels run (compute capability 8.0 or more).
    "triton" always does; raises RuntimeError where no kernel runs on the tensor's device. The kernels themselves refuse
    float64. The answer depends on the tensor, so a model may move; it costs a look at a table, and torch.compile takes
    it as a constant.
    """
    if backend == "triton":
        require_kernels(x.device)
        return True
    return backend == "auto" and x.is_cuda and x.dtype in KERNEL_TYPES and why_not(x.device) is None


def chosen_face(backend: str, device: torch.device | str) -> str:
    """One sentence: which face a model with this backend runs on this device, and why if it is not the kernels."""
    if backend == "reference":
        return "Operators by the readable loop, step by step."
    device = torch.device(device)
    if backend == "torch" or (backend == "auto" and device.type != "cuda"):
        return "Operators by PyTorch alone."
    reason = why_not(device)
    return "Operators by Triton kernels." if reason is None else f"Operators by PyTorch alone: {reason}."


class Float32Parameters(nn.Module):
    """A module whose parameters stay in float32 when the model around it moves to a 16-bit type.

    A decay of 0.9999 is 1 in bfloat16: the memory would never fade.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrow = moved.is_floating_point() and moved.dtype.itemsize < 4
            return tensor.to(moved.device) if narrow else moved

        return super()._apply(keep, recurse)


def full_precision(x: Tensor) -> AbstractContextManager:
    """A context in which autocast leaves the arithmetic alone."""
    if x.device.type == "meta":  # shapes without numbers, which autocast does not know
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def activation_dtype(x: Tensor) -> torch.dtype:
    """The type in which x goes through the layers: autocast's where autocast is on, else its own."""
    kind = x.device.type
    if kind != "meta" and x.dtype == torch.float32 and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype
