"""The operators that have a Triton kernel, each with inputs, its torch face and the products that it must compute."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from megalodon_edu import kernels
from megalodon_edu.measure.cost_model import attended_pairs
from megalodon_edu.nn import ComplexEMA
from megalodon_edu.ops.attention import chunked_attention
from megalodon_edu.ops.complex_ema import complex_ema_chunked, harmonic_angles
from megalodon_edu.ops.cross_entropy import linear_cross_entropy
from megalodon_edu.ops.layer_norm import layer_norm, rms_norm
from megalodon_edu.ops.timestep_norm import timestep_norm_parallel

FORWARD, BOTH = "forward", "forward+backward"
SCAN = 16
"""Steps that CEMA's products take at once, for their count: the least that tensor cores work on."""

Face = Callable[..., Tensor]


class Shapes(NamedTuple):
    """Sizes of the inputs; `sequences` are pairs (batch, time), the attention and the head take the first."""

    sequences: tuple[tuple[int, int], ...]
    channels: int
    modes: int
    groups: int
    chunk: int
    key: int
    value: int
    vocabulary: int


SHAPES = {
    "full": Shapes(((8, 4096), (2, 16384)), 1024, 16, 32, 2048, 256, 2048, 32_000),
    "small": Shapes(((2, 48), (1, 96)), 32, 4, 4, 32, 16, 32, 64),
}
"""full: one layer of the preset 200M. small: for a CPU, where Triton's interpreter is a thousand times slower."""


class Case(NamedTuple):
    """An operator at one shape. `kernel` finds the Triton face, and fails where there is none.

    A face takes the inputs and returns y of the shape `output`. Flops are those of the matrix products, forward, and
    forward and backward together.
    """

    work: str
    shape: tuple[int, ...]
    inputs: Callable[[], list[Tensor]]
    torch_face: Face
    kernel: Callable[[], Face]
    output: tuple[int, ...]
    flops: dict[str, int]


def operator_cases(shapes: Shapes, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Every case, its inputs not made yet: activations in `dtype`, parameters in float32, coefficients in float64."""
    make = partial(Draw, device, dtype)
    first, width = shapes.sequences[0], shapes.channels
    for sequence in shapes.sequences:
        yield _timestep_norm(make, (*sequence, width), shapes.groups)
    for sequence in shapes.sequences:
        yield _average(make, (*sequence, width), shapes.modes)
    for sequence in shapes.sequences:
        yield _average_layer(make, (*sequence, width), shapes.modes)
    yield _attention(make, first, shapes)
    yield _head(make, first[0] * first[1], width, shapes.vocabulary)
    yield from _feature_norms(make, (*first, width))


class Draw:
    """Random inputs, the same at every run."""

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.draw, self.device, self.dtype = torch.Generator(device).manual_seed(0), device, dtype

    def activations(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.draw, device=self.device).to(self.dtype)

    def weights(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=self.draw, device=self.device, dtype=dtype)

    def shares(self, *shape: int) -> Tensor:
        """Between 0.1 and 0.9, in float64."""
        return 0.1 + 0.8 * torch.rand(shape, generator=self.draw, device=self.device, dtype=torch.float64)


Make = Callable[[], Draw]


def _timestep_norm(make: Make, shape: tuple[int, ...], groups: int) -> Case:
    def inputs() -> list[Tensor]:
        draw = make()
        return [draw.activations(*shape), draw.weights(shape[-1]), draw.weights(shape[-1])]

    def face(norm: Callable[..., tuple[Tensor, object]]) -> Face:
        return lambda x, weight, bias: norm(x, weight, bias, groups)[0]

    kernel = _kernel("timestep_norm_triton", face)
    return Case("Timestep Norm", shape, inputs, face(timestep_norm_parallel), kernel, shape, {FORWARD: 0, BOTH: 0})


def _average(make: Make, shape: tuple[int, ...], modes: int) -> Case:
    def inputs() -> list[Tensor]:
        draw, channels = make(), shape[-1]
        return [
            draw.activations(*shape),
            draw.shares(channels, modes),
            draw.shares(channels, modes),
            harmonic_angles(draw.shares(channels), modes),
            draw.weights(channels, modes, dtype=torch.complex128) / math.sqrt(modes),
            draw.weights(channels, dtype=torch.float64),
        ]

    def face(average: Callable[..., tuple[Tensor, object]]) -> Face:
        return lambda *given: average(*given)[0]

    kernel = _kernel("complex_ema_triton", face)
    return Case("CEMA", shape, inputs, face(complex_ema_chunked), kernel, shape, _average_flops(shape, modes))


def _average_layer(make: Make, shape: tuple[int, ...], modes: int) -> Case:
    names = [name for name, _ in ComplexEMA(1, 1).named_parameters()]

    def inputs() -> list[Tensor]:
        draw = make()
        torch.manual_seed(0)
        module = ComplexEMA(shape[-1], modes)
        return [draw.activations(*shape), *(value.detach().to(draw.device) for value in module.parameters())]

    def face(backend: str) -> Face:
        module = ComplexEMA(shape[-1], modes, backend=backend)
        return lambda x, *values: functional_call(module, dict(zip(names, values, strict=True)), (x,))[0]

    flops = {BOTH: _average_flops(shape, modes)[BOTH]}
    return Case("CEMA layer", shape, inputs, face("torch"), lambda: face("triton"), shape, flops)


def _average_flops(shape: tuple[int, ...], modes: int) -> dict[str, int]:
    """K x, W x and V h of every chunk; backward the same for dx, and as much for the sums behind K, V and W."""
    forward = 2 * math.prod(shape) * (SCAN + 4 * modes)
    return {FORWARD: forward, BOTH: 3 * forward}


def _attention(make: Make, sequence: tuple[int, int], shapes: Shapes) -> Case:
    batch, time = sequence

    def inputs() -> list[Tensor]:
        draw = make()
        q, k = (F.normalize(draw.activations(batch, time, 1, shapes.key), dim=-1) for _ in range(2))
        return [q, k, draw.activations(batch, time, 1, shapes.value)]

    def face(attention: Callable[..., tuple[Tensor, object]]) -> Face:
        return lambda q, k, v: attention(q, k, v, shapes.chunk)[0]

    product = 2 * batch * attended_pairs(time, shapes.chunk)
    forward = product * (shapes.key + shapes.value)
    return Case(
        "chunk attention",
        (batch, time, shapes.key, shapes.value),
        inputs,
        face(chunked_attention),
        _kernel("chunked_attention_triton", face),
        (batch, time, 1, shapes.value),
        {FORWARD: forward, BOTH: 3 * forward + product * shapes.key},  # q·k once more: no weights are stored
    )


def _head(make: Make, tokens: int, width: int, vocabulary: int) -> Case:
    def inputs() -> list[Tensor]:
        draw = make()
        weight = (draw.activations(vocabulary, width) / math.sqrt(width)).to(draw.dtype)
        targets = torch.randint(0, vocabulary, (tokens,), generator=draw.draw, device=draw.device)
        return [draw.activations(tokens, width), weight, targets]

    return Case(
        "head + cross-entropy",
        (tokens, width, vocabulary),
        inputs,
        linear_cross_entropy,
        _kernel("linear_cross_entropy_triton", lambda loss: loss),
        (),
        {BOTH: 3 * 2 * tokens * width * vocabulary},
    )


def _feature_norms(make: Make, shape: tuple[int, ...]) -> Iterator[Case]:
    def inputs(parameters: int) -> list[Tensor]:
        draw = make()
        return [draw.activations(*shape), *(draw.weights(shape[-1]) for _ in range(parameters))]

    norms: tuple[tuple[str, Face, str, int], ...] = (
        ("RMSNorm", rms_norm, "rms_norm_triton", 1),
        ("LayerNorm", layer_norm, "layer_norm_triton", 2),
    )
    for work, face, name, parameters in norms:
        kernel = _kernel(name, lambda norm: norm)
        yield Case(work, shape, partial(inputs, parameters), face, kernel, shape, {FORWARD: 0, BOTH: 0})


def _kernel(name: str, face: Callable[[Callable[..., Any]], Face]) -> Callable[[], Face]:
    return lambda: face(getattr(kernels, name))


def least_bytes(inputs: Sequence[Tensor], output: int, what: str) -> int:
    """Bytes of the inputs read once and of an output of that many bytes written once.

    Backward, the inputs and the output's gradient are read once, and a gradient is written for each input that has one.
    """
    given = sum(tensor.numel() * tensor.itemsize for tensor in inputs)
    if what == FORWARD:
        return given + output
    gradients = sum(t.numel() * t.itemsize for t in inputs if t.is_floating_point() or t.is_complex())
    return 2 * (given + output) + gradients
