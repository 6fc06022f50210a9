"""Calls of every Triton kernel whose results are compared with float64: many lengths, with a past and without.

The truth is the loop over time where it is short, and beyond that the face of `ops` that takes all steps at once.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from megalodon_edu import kernels
from megalodon_edu.measure.operator_cases import Draw, Make
from megalodon_edu.nn import ComplexEMA
from megalodon_edu.ops.attention import (
    AttentionCache,
    causal_attention,
    chunked_attention,
    chunked_attention_reference,
)
from megalodon_edu.ops.complex_ema import complex_ema_convolution, complex_ema_reference, harmonic_angles
from megalodon_edu.ops.cross_entropy import linear_cross_entropy
from megalodon_edu.ops.layer_norm import layer_norm, rms_norm
from megalodon_edu.ops.timestep_norm import TimestepNormState, timestep_norm_parallel, timestep_norm_reference

LOOP = 256
"""Steps up to which the truth is the loop."""

LOGITS = 2**24
"""So many logits, at most, stand in the truth of the head at once."""

SLOW = 0.01
"""α and δ of the long memory: a step keeps 0.9999 of it."""

SLOW_LIMIT = 1e-4
NO_PAST, PAST, PADDED = "none", "given", "given, padding"

Shape = tuple[int, int, int]
Face = Callable[..., tuple[Tensor, ...]]


class Plan(NamedTuple):
    """Shapes (batch, time, channel) of all operators; `held` tokens stand in attention's cache, fewer than `chunk`.

    Attention's values are twice as wide as the channels and its keys a quarter, as in the preset 200M.
    """

    sequences: tuple[Shape, ...]
    long_memory: Shape
    modes: int
    chunk: int
    held: int
    vocabulary: int


PLANS = {
    "full": Plan(
        (
            *((64, 1, 1024), (5, 15, 77), (64, 37, 64), (7, 333, 77), (3, 1000, 64)),
            *((2, 4095, 1024), (1, 16_384, 1024), (1, 65_536, 64)),
        ),
        long_memory=(1, 65_536, 64),
        modes=16,
        chunk=2048,
        held=100,
        vocabulary=32_000,
    ),
    "small": Plan(
        ((3, 1, 8), (2, 15, 6), (1, 70, 5)), long_memory=(1, 600, 2), modes=3, chunk=32, held=5, vocabulary=300
    ),
}
"""full: few widths, since kernels are compiled for each. small: for Triton's interpreter."""


class ErrorCase(NamedTuple):
    """One call. Its inputs have names, the faces take them in that order and return the outputs.

    `kernel` finds the Triton face, and fails where there is none. `trains` says whether the call has gradients.
    `limit` stands where the limit of the type does not hold.
    """

    work: str
    shape: tuple[int, ...]
    past: str
    inputs: Callable[[], dict[str, Tensor]]
    kernel: Callable[[], Face]
    truth: Face
    outputs: tuple[str, ...]
    trains: bool = True
    limit: float | None = None


def error_cases(plan: Plan, device: torch.device, dtype: torch.dtype) -> Iterator[ErrorCase]:
    """Every case, its inputs not made yet: activations in `dtype`, parameters in float32, coefficients in float64."""
    make = partial(Draw, device, dtype)
    shapes = plan.sequences
    for shape in shapes:
        yield _timestep_norm(make, shape, NO_PAST)
        yield _timestep_norm(make, shape, PAST)
    yield _timestep_norm(make, shapes[len(shapes) // 2], PADDED)
    for shape in shapes:
        yield _average(make, shape, plan.modes, NO_PAST)
        yield _average(make, shape, plan.modes, PAST)
    if dtype == torch.float32:
        yield _average(make, plan.long_memory, plan.modes, PAST, slow=True)
    for shape in shapes:
        yield _average_layer(make, shape, plan.modes)
    for shape in shapes:
        yield _attention(make, shape, plan.chunk, 0)
        yield _attention(make, shape, plan.chunk, plan.held)
    for shape in shapes:
        yield _head(make, shape, plan.vocabulary)
    for shape in shapes:
        yield _feature_norm(make, shape, "RMSNorm", rms_norm, "rms_norm_triton", ("weight",))
        yield _feature_norm(make, shape, "LayerNorm", layer_norm, "layer_norm_triton", ("weight", "bias"))
    for shape in shapes:
        if shape[1] < plan.chunk:
            yield _attention_step(make, shape)
    for batch, _, channels in shapes[:2]:
        yield _memory_step(make, batch, channels, plan.modes)


def _timestep_norm(make: Make, shape: Shape, past: str) -> ErrorCase:
    batch, time, channels = shape
    groups = _groups(channels)

    def inputs() -> dict[str, Tensor]:
        draw = make()
        given = _norm_inputs(draw, shape, groups)
        if past == NO_PAST:
            given = {name: given[name] for name in ("x", "weight", "bias")}
        if past == PADDED:
            given["padding_mask"] = draw.shares(batch, time) < 0.4
        return given

    def face(norm: Callable[..., tuple[Tensor, TimestepNormState]]) -> Face:
        def call(x: Tensor, weight: Tensor, bias: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            state = TimestepNormState(*rest[:3]) if rest else None
            y, last = norm(x, weight, bias, groups, state, *rest[3:])
            return y, *last

        return call

    truth = face(timestep_norm_reference if time <= LOOP else timestep_norm_parallel)
    outputs = ("y", "last count", "last mean", "last var")
    return ErrorCase("Timestep Norm", shape, past, inputs, _kernel("timestep_norm_triton", face), truth, outputs)


def _average(make: Make, shape: Shape, modes: int, past: str, slow: bool = False) -> ErrorCase:
    batch, time, channels = shape

    def inputs() -> dict[str, Tensor]:
        draw = make()
        given = {"x": draw.activations(*shape)} | _average_inputs(draw, batch, channels, modes)
        if slow:
            given |= {name: torch.full_like(given[name], SLOW) for name in ("alpha", "delta")}
        if past == NO_PAST:
            del given["state"]
        return given

    truth = complex_ema_reference if time <= LOOP else complex_ema_convolution
    work, limit = ("CEMA, long memory", SLOW_LIMIT) if slow else ("CEMA", None)
    kernel = _kernel("complex_ema_triton", lambda average: average)
    return ErrorCase(work, shape, past, inputs, kernel, truth, ("y", "last state"), limit=limit)


def _average_layer(make: Make, shape: Shape, modes: int) -> ErrorCase:
    """The module: its logits become coefficients in a kernel of their own."""

    def inputs() -> dict[str, Tensor]:
        draw = make()
        torch.manual_seed(0)
        module = ComplexEMA(shape[2], modes)
        parameters = {name: value.detach().to(draw.device) for name, value in module.named_parameters()}
        return {"x": draw.activations(*shape)} | parameters

    def face(backend: str) -> Face:
        module = ComplexEMA(shape[2], modes, backend=backend)
        names = [name for name, _ in module.named_parameters()]
        return lambda x, *values: functional_call(module, dict(zip(names, values, strict=True)), (x,))

    outputs = ("y", "last state")
    truth = face("reference" if shape[1] <= LOOP else "torch")
    return ErrorCase("CEMA layer", shape, NO_PAST, inputs, lambda: face("triton"), truth, outputs)


def _attention(make: Make, shape: Shape, chunk: int, held: int) -> ErrorCase:
    batch, time, channels = shape
    key, value = _widths(channels)

    def inputs() -> dict[str, Tensor]:
        draw = make()
        sizes = {"q": (time, key), "k": (time, key), "v": (time, value)}
        if held:
            sizes |= {"keys": (held, key), "values": (held, value)}
        return {name: draw.activations(batch, length, 1, width) for name, (length, width) in sizes.items()}

    def face(attention: Callable[..., tuple[Tensor, AttentionCache]]) -> Face:
        def call(q: Tensor, k: Tensor, v: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
            o, last = attention(q, k, v, chunk, AttentionCache(*cache) if cache else None, key**-0.5)
            return o, *last

        return call

    truth = face(chunked_attention_reference if time <= LOOP else chunked_attention)
    past = f"{held} tokens" if held else NO_PAST
    outputs = ("o", "last keys", "last values")
    kernel = _kernel("chunked_attention_triton", face)
    return ErrorCase("chunk attention", (batch, time, key, value), past, inputs, kernel, truth, outputs)


def _head(make: Make, shape: Shape, vocabulary: int) -> ErrorCase:
    batch, time, channels = shape
    words = min(vocabulary, LOGITS // (batch * time))

    def inputs() -> dict[str, Tensor]:
        draw = make()
        weight = (draw.activations(words, channels) / math.sqrt(channels)).to(draw.dtype)
        targets = torch.randint(0, words, (batch, time), generator=draw.draw, device=draw.device)
        return {"x": draw.activations(*shape), "weight": weight, "targets": targets}

    def face(loss: Callable[..., Tensor]) -> Face:
        return lambda *given: (loss(*given),)

    kernel = _kernel("linear_cross_entropy_triton", face)
    truth = face(linear_cross_entropy)
    return ErrorCase("head + cross-entropy", (*shape, words), NO_PAST, inputs, kernel, truth, ("loss",))


def _feature_norm(
    make: Make, shape: Shape, work: str, norm: Callable[..., Tensor], name: str, parameters: tuple[str, ...]
) -> ErrorCase:
    def inputs() -> dict[str, Tensor]:
        draw = make()
        return {"x": draw.activations(*shape)} | {name: draw.weights(shape[2]) for name in parameters}

    def face(norm: Callable[..., Tensor]) -> Face:
        return lambda *given: (norm(*given),)

    return ErrorCase(work, shape, NO_PAST, inputs, _kernel(name, face), face(norm), ("y",))


def _attention_step(make: Make, shape: Shape) -> ErrorCase:
    """One query against a buffer that holds `time` tokens and room for more."""
    batch, time, channels = shape
    key, value = _widths(channels)

    def inputs() -> dict[str, Tensor]:
        draw = make()
        return {
            "q": draw.activations(batch, 1, key),
            "keys": draw.activations(batch, 1, time + 9, key),
            "values": draw.activations(batch, 1, time + 9, value),
            "place": torch.tensor([time - 1], device=draw.device),
        }

    def truth(q: Tensor, keys: Tensor, values: Tensor, place: Tensor) -> tuple[Tensor, ...]:
        keys, values = (buffer[:, :, :time].transpose(1, 2) for buffer in (keys, values))
        return (causal_attention(q[:, None], keys, values, key**-0.5)[:, 0],)

    kernel = _kernel("decode_attention_triton", lambda step: lambda *given: (step(*given, key**-0.5),))
    return ErrorCase("step of attention", (batch, time, key, value), PAST, inputs, kernel, truth, ("o",), trains=False)


def _memory_step(make: Make, batch: int, channels: int, modes: int) -> ErrorCase:
    """One token through Timestep Norm and CEMA."""
    groups = _groups(channels)

    def inputs() -> dict[str, Tensor]:
        draw = make()
        given = _norm_inputs(draw, (batch, 1, channels), groups)
        return given | _average_inputs(draw, batch, channels, modes)

    def truth(
        x: Tensor, weight: Tensor, bias: Tensor, count: Tensor, mean: Tensor, var: Tensor, *average: Tensor
    ) -> tuple[Tensor, ...]:
        normal, last = timestep_norm_reference(x, weight, bias, groups, TimestepNormState(count, mean, var))
        alpha, delta, theta, eta, skip, state = average
        y, last_state = complex_ema_reference(normal, alpha, delta, theta, eta, skip, state)
        return normal, y, last.mean, last.var, last_state

    def face(step: Callable[..., tuple[Tensor, Tensor]]) -> Face:
        def call(
            x: Tensor, weight: Tensor, bias: Tensor, count: Tensor, mean: Tensor, var: Tensor, *average: Tensor
        ) -> tuple[Tensor, ...]:
            alpha, delta, theta, eta, skip, state = average
            q = torch.polar(1 - alpha * delta, theta)
            parts = [part.float().contiguous() for part in (q.real, q.imag, alpha, eta.real, eta.imag)]
            mean, var, real, imaginary = (t.contiguous().clone() for t in (mean, var, state.real, state.imag))
            statistics, averages = (count + 1, mean, var), (real, imaginary)  # all but the count change in place
            normal, y = step(x[:, 0], weight, bias, statistics, (*parts, skip), averages)
            return normal[:, None], y[:, None], mean, var, torch.complex(real, imaginary)

        return call

    outputs = ("normal", "y", "last mean", "last var", "last state")
    kernel = _kernel("memory_step_triton", face)
    shape = (batch, 1, channels)
    return ErrorCase("step of norm and CEMA", shape, PAST, inputs, kernel, truth, outputs, trains=False)


def _norm_inputs(draw: Draw, shape: Shape, groups: int) -> dict[str, Tensor]:
    batch, _, channels = shape
    return {
        "x": draw.activations(*shape),
        "weight": draw.weights(channels),
        "bias": draw.weights(channels),
        "count": 5 + torch.arange(batch, device=draw.device),
        "mean": draw.weights(batch, groups),
        "var": draw.shares(batch, groups).float(),
    }


def _average_inputs(draw: Draw, batch: int, channels: int, modes: int) -> dict[str, Tensor]:
    """The skip is in float32 as a module's is, the other coefficients in float64."""
    return {
        "alpha": draw.shares(channels, modes),
        "delta": draw.shares(channels, modes),
        "theta": harmonic_angles(draw.shares(channels), modes),
        "eta": draw.weights(channels, modes, dtype=torch.complex128) / math.sqrt(modes),
        "skip": draw.weights(channels),
        "state": draw.weights(batch, channels, modes, dtype=torch.complex64),
    }


def _groups(channels: int) -> int:
    """At most 32, of four features or more: two would be +1 and -1 at the first token, whatever they were before.

    Then nearly all of their gradient cancels, and what is left is rounding.
    """
    return max(groups for groups in range(1, max(1, min(32, channels // 4)) + 1) if channels % groups == 0)


def _widths(channels: int) -> tuple[int, int]:
    return max(1, channels // 4), 2 * channels


def _kernel(name: str, face: Callable[[Callable[..., Any]], Face]) -> Callable[[], Face]:
    return lambda: face(getattr(kernels, name))
