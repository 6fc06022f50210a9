"""Small experiments on a student's operator, shared by the checks of all chapters.

Each raises `Diagnosis` with what it saw, in the student's terms: "step 3", "channel 1", "the second piece".
Signals are (batch, time, channel) unless a check says otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, kind_of
from megalodon_edu.exercises.fresh import generator

SIGNAL = "batch time channel"


def signal(batch: int = 2, time: int = 12, channel: int = 3, seed: int = 0) -> Tensor:
    """A float64 test signal, the same at every call. All dimensions differ, so that swapped ones are noticed."""
    return torch.randn(batch, time, channel, generator=generator(seed), dtype=torch.float64)


def expect_pair(result: Any, what: str = "the outputs y and the last state") -> tuple[Any, Any]:
    """The two parts of a result, or a diagnosis."""
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"{len(result)} things" if isinstance(result, tuple) else kind_of(result)
        raise Diagnosis(f"return two things, {what}; yours returns {got}.")
    return result


def expect_shape(value: Any, shape: tuple[int, ...], what: str = "y", dimensions: str = SIGNAL) -> Tensor:
    """A tensor of this shape, or a diagnosis that names the dimensions."""
    names = ", ".join(dimensions.split())
    if not isinstance(value, Tensor):
        raise Diagnosis(f"{what} should be a tensor ({names}), yours is {kind_of(value)}.")
    got = tuple(value.shape)
    if got != tuple(shape):
        raise Diagnosis(f"{what} should have the shape ({names}) = {tuple(shape)}, yours has {got}.")
    return value


def expect_number(value: Any, what: str) -> float:
    """A plain number, or a tensor that holds one."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Diagnosis(f"{what} should be a number, yours is {kind_of(value)}.")
    return float(value)


def expect_close(
    value: Tensor,
    expected: Tensor,
    what: str = "y",
    dimensions: str = SIGNAL,
    mistakes: Mapping[str, Tensor] | None = None,
    tolerance: float = 1e-6,
) -> None:
    """The expected numbers, or a diagnosis: a known mistake that gives just these, else the first index that differs.

    `mistakes` maps a sentence to the numbers that this mistake would give.
    """
    if _same(value, expected, tolerance):
        return
    for sentence, wrong in (mistakes or {}).items():
        if _same(value, wrong, tolerance):
            raise Diagnosis(sentence)
    where = first_difference(value, expected, dimensions, tolerance)
    raise Diagnosis(f"{what} first differs {where}.")


def first_difference(value: Tensor, expected: Tensor, dimensions: str, tolerance: float = 1e-6) -> str:
    """The earliest place where two tensors differ: "at time 3, channel 1: yours 0.5, expected 0.25"."""
    names = dimensions.split()
    differ = ~torch.isclose(value.double(), expected.double(), rtol=tolerance, atol=tolerance)
    places = [tuple(place) for place in differ.nonzero().tolist()]
    time = names.index("time") if "time" in names else 0
    place = min(places, key=lambda place: (place[time], place))
    named = [f"{name} {index}" for name, index, size in zip(names, place, value.shape, strict=True) if size > 1]
    return f"at {', '.join(named) or 'the only place'}: yours {value[place]:.4g}, expected {expected[place]:.4g}"


def expect_causal(run: Callable[[Tensor], Tensor], x: Tensor, changed: int = 7, subject: str = "your output") -> None:
    """Change x at one step: no earlier output may move."""
    moved = x.clone()
    moved[:, changed] += 1.0
    before, after = run(x), run(moved)
    differs = ~torch.isclose(before, after, rtol=1e-9, atol=1e-9, equal_nan=True)
    steps = differs.any(2).any(0).nonzero().flatten().tolist()
    if steps and steps[0] < changed:
        raise Diagnosis(
            f"{subject} at step {steps[0]} changed when I changed the input at step {changed}: it sees the future."
        )


def expect_streams(run: Callable[[Tensor, Any], tuple[Tensor, Any]], x: Tensor, cut: int = 5) -> None:
    """`run(x, state)` on two pieces must give what one call gives, and end in the same state."""
    whole, last = run(x, None)
    _, state = run(x[:, :cut], None)
    second, streamed = run(x[:, cut:], state)
    if not _same(second, whole[:, cut:]):
        forgot, _ = run(x[:, cut:], None)
        if _same(second, forgot):
            raise Diagnosis(
                f"fed in two pieces, the second piece starts as if nothing had happened before step {cut}: "
                "the incoming state is not used."
            )
        where = first_difference(second, whole[:, cut:], SIGNAL)
        raise Diagnosis(
            "fed in two pieces, the second piece is not what one call gives there. "
            f"Counted within it, it first differs {where}."
        )
    if not all(_same(mine, whole) for mine, whole in zip(_parts(streamed), _parts(last), strict=True)):
        raise Diagnosis("fed in two pieces, the outputs are right but the last state differs from that of one call.")


def _parts(state: Any) -> list[Tensor]:
    return [torch.as_tensor(part) for part in (state if isinstance(state, tuple) else (state,))]


def _same(value: Tensor, expected: Tensor, tolerance: float = 1e-6) -> bool:
    if value.shape != expected.shape:
        return False
    wide = torch.complex128 if value.is_complex() or expected.is_complex() else torch.float64
    return torch.allclose(value.to(wide), expected.to(wide), rtol=tolerance, atol=tolerance)
