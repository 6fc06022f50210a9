"""One operator, the complex EMA, in its three faces: step by step, by FFT, and chunk by chunk."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.timing import Row, median_seconds
from megalodon_edu.ops.complex_ema import (
    complex_ema_chunked,
    complex_ema_convolution,
    complex_ema_reference,
    harmonic_angles,
)

FACES: Mapping[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "loop": complex_ema_reference,
    "fft": complex_ema_convolution,
    "chunked": complex_ema_chunked,
}


def operator_speed(
    contexts: Sequence[int], channels: int, modes: int, device: torch.device, repeats: int = 7
) -> Iterator[Row]:
    """Yield, for each context, the seconds of every face, in float32 and for one sequence, without and with gradients.

    `ratio` is the loop's time over that of the face: above 1, the face is faster.
    """
    for context in contexts:
        require_positive("context", context)
    for context in contexts:
        inputs = _inputs(context, channels, modes, device)
        forward = {name: _forward(face, inputs) for name, face in FACES.items()}
        both = {name: _with_gradients(face, inputs) for name, face in FACES.items()}
        for what, functions in (("forward", forward), ("with gradients", both)):
            found = median_seconds(functions, device, repeats)
            ratio = {name: found["loop"] / found[name] for name in FACES}
            yield {"context": context, "what": what, "seconds": found, "ratio": ratio}


def _inputs(context: int, channels: int, modes: int, device: torch.device) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    inputs = {
        "x": torch.randn(1, context, channels, generator=draw),
        "alpha": torch.rand(channels, modes, generator=draw) * 0.8 + 0.1,
        "delta": torch.rand(channels, modes, generator=draw) * 0.8 + 0.1,
        "theta": harmonic_angles(torch.rand(channels, generator=draw), modes),
        "eta": torch.randn(channels, modes, dtype=torch.complex64, generator=draw) / math.sqrt(modes),
        "skip": torch.randn(channels, generator=draw),
    }
    return {name: value.to(device).requires_grad_() for name, value in inputs.items()}


def _forward(face: Callable[..., tuple[Tensor, Tensor]], inputs: dict[str, Tensor]) -> Callable[[], object]:
    @torch.inference_mode()
    def forward() -> object:
        return face(**inputs)

    return forward


def _with_gradients(face: Callable[..., tuple[Tensor, Tensor]], inputs: dict[str, Tensor]) -> Callable[[], object]:
    def forward_and_backward() -> Any:
        y, _ = face(**inputs)
        return torch.autograd.grad(y.sum(), list(inputs.values()))

    return forward_and_backward
