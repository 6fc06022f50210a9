"""Chapter 02, damped, multi-dimensional EMA: what the checks look at and what they say."""

from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import varied
from megalodon_edu.exercises.probes import (
    expect_causal,
    expect_close,
    expect_pair,
    expect_shape,
    expect_streams,
    signal,
)
from megalodon_edu.ops import damped_ema as ops


def coefficients() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """alpha, delta, beta, eta of three channels with two modes each; one eta is negative."""
    alpha = torch.tensor([[0.5, 0.25], [0.9, 0.3], [0.6, 0.1]], dtype=torch.float64)
    delta = torch.tensor([[0.8, 0.2], [0.5, 0.4], [0.9, 0.3]], dtype=torch.float64)
    beta = torch.tensor([[1.0, 2.0], [0.5, 1.5], [3.0, 1.2]], dtype=torch.float64)
    eta = torch.tensor([[2.0, -1.0], [1.5, 0.5], [0.7, 1.1]], dtype=torch.float64)
    return varied(alpha), varied(delta), varied(beta), varied(eta)


@exercise(
    success="each channel is written into several memories and read back as one number; the state passes through.",
    hints=[
        "It is the loop of chapter 01 with one more dimension: the state is (batch, channel, mode).",
        "`x[:, t, :, None]` has the shape (batch, channel, 1): each token goes to all modes of its channel.",
        "One step is `h = alpha * beta * x[:, t, :, None] + (1 - alpha * delta) * h`.",
        "The output of the step is `(eta * h).sum(-1)`: the modes are mixed, not kept. Return the state unmixed.",
    ],
)
def damped_ema(answer: Any) -> None:
    """`damped_ema(x, alpha, delta, beta, eta, state=None)` returns y (batch, time, channel) and the last state."""
    x, (alpha, delta, beta, eta) = signal(), coefficients()
    one = torch.ones_like(alpha)
    y, state = expect_pair(answer(x, alpha, delta, beta, eta))
    expect_shape(y, tuple(x.shape))
    expect_shape(state, (2, 3, 2), "the last state", "batch channel mode")
    expect_causal(lambda x: answer(x, alpha, delta, beta, eta)[0], x)
    right, last = ops.damped_ema_reference(x, alpha, delta, beta, eta)
    late = torch.cat([torch.zeros_like(right[:, :1]), right[:, :-1]], 1)
    expect_close(y, right, mistakes={
        "your memories fade by 1 - α. The damped average keeps 1 - αδ: δ makes a memory longer than its α alone would.":
            ops.damped_ema_reference(x, alpha, one, beta, eta)[0],
        "β is missing: it weighs the token on its way into each mode.":
            ops.damped_ema_reference(x, alpha, delta, one, eta)[0],
        "you add β times the token; its share is α β.": ops.damped_ema_reference(x, alpha, delta, beta / alpha, eta)[0],
        "η is missing: the modes are not simply added, each is read with its own weight.":
            ops.damped_ema_reference(x, alpha, delta, beta, one)[0],
        "you take the mean over the modes; the equation has a sum.": right / 2,
        "δ also scales what you write. It belongs to the decay alone: α β for the token, 1 - αδ for the memory.":
            ops.damped_ema_reference(x, alpha, delta, beta * delta, eta)[0],
        "your outputs come one step late: y at step t should already contain the token of step t.": late,
    })  # fmt: skip
    expect_close(state, last, "the last state", "batch channel mode", mistakes={
        "the state you return is the one you started from; the next call needs the one after the last step.":
            torch.zeros_like(last),
        "you return the state already multiplied by η. Reading must not change the memory: return h itself.":
            eta * last,
    })  # fmt: skip
    expect_streams(lambda x, state: answer(x, alpha, delta, beta, eta, state), x)


@exercise(
    success="all modes in one list of weights; whatever N is, the past is weighed once.",
    hints=[
        "One mode answers a single 1 with η α β, then η α β φ, then η α β φ² and so on, where φ = 1 - αδ.",
        "Give the ages a dimension of their own: `torch.arange(length)` against `phi[..., None]` is "
        "(channel, mode, length).",
        "Sum over the modes at the end: that is dimension 1.",
    ],
)
def kernel_of_modes(answer: Any) -> None:
    """`kernel_of_modes(alpha, delta, beta, eta, length)` returns the kernel (channel, length)."""
    (alpha, delta, beta, eta), length = coefficients(), 5
    one = torch.ones_like(alpha)
    what, dimensions = "your kernel", "channel time"
    result = answer(alpha, delta, beta, eta, length)
    if isinstance(result, Tensor) and tuple(result.shape) == (3, 2, length):
        raise Diagnosis("your kernel still has one row per mode; a channel has one kernel, the sum over its modes.")
    weights = expect_shape(result, (3, length), what, dimensions)
    right = ops.damped_ema_kernel(alpha, delta, beta, eta, length)
    expect_close(weights, right, what, dimensions, mistakes={
        "your modes fade by 1 - α per step; they keep 1 - αδ.": ops.damped_ema_kernel(alpha, one, beta, eta, length),
        "your kernel lacks the factor α: a token is written with the share α β.":
            ops.damped_ema_kernel(alpha, delta, beta / alpha, eta, length),
        "your kernel lacks η: each mode is read with its own weight.":
            ops.damped_ema_kernel(alpha, delta, beta, one, length),
        "your kernel lacks β: each mode is written with its own weight.":
            ops.damped_ema_kernel(alpha, delta, one, eta, length),
        "your kernel is one step too old: the token of this very step has the age 0 and is not faded yet.":
            ops.damped_ema_kernel(alpha, delta, beta, eta, length + 1)[:, 1:],
        "your kernel is the right one backwards: entry 0 belongs to the newest token.": right.flip(1),
        "you make the weights sum to 1. A mode sums to η β / δ over all ages, and that is meant: "
        "the mix may amplify, damp or change the sign.": right / right.sum(1, keepdim=True),
        "you take the size of the weights. η may be negative, and then so are weights of the kernel.": right.abs(),
        "you take the size of η before you mix. A negative η subtracts a mode.":
            ops.damped_ema_kernel(alpha, delta, beta, eta.abs(), length),
    })  # fmt: skip


@exercise(
    success="all steps at once, and the end of the text stays at its end.",
    hints=[
        "A product of spectra is a convolution on a circle. Make the circle large enough that nothing meets itself.",
        "`torch.fft.rfft(x, n=2 * length, dim=1)` appends the zeros for you. The kernel needs the same n.",
        "The kernel is (channel, time) and x is (batch, time, channel): transpose the kernel before you multiply.",
        "Back with `torch.fft.irfft(product, n=2 * length, dim=1)`, then keep the first `length` steps.",
    ],
)
def convolve_fft(answer: Any) -> None:
    """`convolve_fft(x, kernel)`: y_t = Σ_τ K_τ x_{t-τ}, x (batch, time, channel), kernel (channel, time)."""
    for time in (12, 7):
        x, kernel = signal(time=time), signal(1, 3, time, seed=1)[0]
        right = _convolution(x, kernel)
        y = expect_shape(answer(x, kernel), tuple(x.shape), f"y for {time} steps")
        if y.is_complex():
            raise Diagnosis("y is complex, x and the kernel are real: use `rfft` and `irfft`, or take the real part.")
        past = torch.cat([x.new_zeros(x[:, :1].shape), x], 1)
        expect_close(y, right, f"y for {time} steps", mistakes={
            "the end of the sequence wraps into its start: your circle is only as long as the text. Pad both to 2L.":
                _circular(x, kernel),
            "you keep the second half of the padded result. That is what would come after the end of the text; "
            "the first `length` steps are the answer.": _tail(x, kernel),
            "your kernel runs backwards: entry 0 belongs to the token of this very step, age 0.":
                _convolution(x, kernel.flip(1)),
            "every channel is convolved with the kernel of channel 0; each has its own.":
                _convolution(x, kernel[:1].expand(3, -1)),
            "your outputs come one step late: y at step t contains K_0 times the token of step t.":
                _convolution(past, torch.nn.functional.pad(kernel, (0, 1)))[:, :-1],
        })  # fmt: skip


def _convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """y_t = Σ_τ K_τ x_{t-τ} by the definition, one age at a time."""
    y = torch.zeros_like(x)
    for age in range(x.shape[1]):
        y[:, age:] += kernel[:, age] * x[:, : x.shape[1] - age]
    return y


def _circular(x: Tensor, kernel: Tensor) -> Tensor:
    """The same with ages that walk round a circle as long as x."""
    return sum((kernel[:, age] * x.roll(age, 1) for age in range(x.shape[1])), torch.zeros_like(x))


def _tail(x: Tensor, kernel: Tensor) -> Tensor:
    """Steps L .. 2L-1 of the convolution of x followed by L zeros."""
    length = x.shape[1]
    padding = (0, 0, 0, length)
    return _convolution(torch.nn.functional.pad(x, padding), torch.nn.functional.pad(kernel, (0, length)))[:, length:]


@exercise(
    success="the bug is gone: pieces of any size give what the loop gives.",
    hints=[
        "Run it with one piece as long as the text, then with two. Which steps are right?",
        "Set every δ to 1 and run it again. What has changed, and where is δ used?",
        "Compare the two places that fade something: the kernel inside a piece, and the state that enters it.",
        "At place 0 of a piece the state that enters has faded once, by 1 - αδ.",
    ],
)
def damped_ema_in_pieces(answer: Any) -> None:
    """The repaired `damped_ema_in_pieces(x, alpha, delta, beta, eta, size)`, x (time,), coefficients (mode,)."""
    x, size = signal(1, 14, 1)[0, :, 0], 4
    alpha, delta, beta, eta = (value[0] for value in coefficients())
    rows = [value[None] for value in (alpha, delta, beta, eta)]
    right = ops.damped_ema_reference(x[None, :, None], *rows)[0][0, :, 0]
    alone = expect_shape(answer(x[:size], alpha, delta, beta, eta, size), (size,), "y for a single piece", "time")
    expect_close(alone, right[:size], "y for a single piece", "time")
    y = expect_shape(answer(x, alpha, delta, beta, eta, size), (14,), "y", "time")
    _diagnose_second_piece(y[: 2 * size], x[: 2 * size], rows, size)
    expect_close(y[: 2 * size], right[: 2 * size], "piece 0 is right; y in piece 1", "time")
    try:
        expect_close(y, right, "y", "time")
    except Diagnosis as error:
        raise Diagnosis(
            f"pieces 0 and 1 are right, but {error} So the state that piece 1 hands on is wrong: "
            f"what came in must fade over the whole piece, {size} times, before the piece's own tokens are added."
        ) from None
    for other in (1, 5, 14):
        y = expect_shape(answer(x, alpha, delta, beta, eta, other), (14,), f"y in pieces of {other}", "time")
        expect_close(y, right, f"y in pieces of {other}", "time")


def _diagnose_second_piece(y: Tensor, x: Tensor, rows: list[Tensor], size: int) -> None:
    """Tell how the state that enters piece 1 was treated, from the outputs of pieces 0 and 1."""
    alpha, delta, _, eta = rows
    _, state = ops.damped_ema_reference(x[None, :size, None], *rows)
    inside = ops.damped_ema_reference(x[None, size:, None], *rows)[0][0, :, 0]
    places = torch.arange(size)
    decay = 1 - alpha * delta

    def entering(decay: Tensor, shift: int = 1, times: float = 1.0) -> Tensor:
        faded = times * eta[0, :, None] * state[0, 0, :, None] * decay[0, :, None] ** (places + shift)
        return torch.cat([y[:size], inside + faded.sum(0)])

    start = f"piece 0 is right; from step {size} on, where piece 1 starts, "
    right = entering(decay)
    expect_close(y, right, f"{start}y", "time", mistakes={
        f"{start}the state that enters fades by 1 - α per step and should keep 1 - αδ. "
        "With δ = 1 nobody would notice.": entering(1 - alpha),
        f"{start}the state that enters counts twice: once is enough.": entering(decay, times=2),
        f"{start}nothing is left of piece 0: the state is lost at the edge.": entering(decay, times=0),
        f"{start}the state that enters has faded one time too few: at place 0 it has already faded once.":
            entering(decay, shift=0),
        f"{start}the state that enters has faded one time too often: at place 0 it has faded once.":
            entering(decay, shift=2),
    })  # fmt: skip
