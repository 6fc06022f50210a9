"""Chapter 03, complex EMA: what the checks look at and what they say."""

import math
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases, varied
from megalodon_edu.exercises.probes import (
    expect_causal,
    expect_close,
    expect_number,
    expect_pair,
    expect_shape,
    expect_streams,
    signal,
)
from megalodon_edu.ops import complex_ema as ops


def coefficients() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """alpha, delta, theta, eta, skip of three channels with two modes each; eta has an imaginary part."""
    alpha = torch.tensor([[0.5, 0.25], [0.9, 0.3], [0.6, 0.1]], dtype=torch.float64)
    delta = torch.tensor([[0.8, 0.2], [0.5, 0.4], [0.9, 0.3]], dtype=torch.float64)
    theta = torch.tensor([[0.4, 0.8], [1.5, 3.0], [0.7, 1.4]], dtype=torch.float64)
    real = torch.tensor([[2.0, -1.0], [1.5, 0.5], [0.7, 1.1]], dtype=torch.float64)
    imaginary = torch.tensor([[0.5, 1.0], [-0.8, 0.3], [1.2, -0.4]], dtype=torch.float64)
    skip = torch.tensor([0.3, -0.2, 0.6], dtype=torch.float64)
    eta = torch.complex(varied(real), varied(imaginary))
    return varied(alpha), varied(delta), varied(theta), eta, varied(skip)


@exercise(
    success="a complex state that fades and turns, a real output, and the token's own way past the memory.",
    hints=[
        "It is the loop of chapter 02 with a complex state: (batch, channel, mode), of dtype torch.complex128 here.",
        "The factor of one step is `q = torch.polar(1 - alpha * delta, theta)`: its size fades, its angle turns.",
        "The token enters unturned, as the released code does: `h = q * h + alpha * x[:, t, :, None]`.",
        "Read with `(eta * h).sum(-1).real` and add `skip * x[:, t]`. The state you return stays complex.",
    ],
)
def complex_ema(answer: Any) -> None:
    """`complex_ema(x, alpha, delta, theta, eta, skip, state=None)` returns y and the last, complex state."""
    x, (alpha, delta, theta, eta, skip) = signal(), coefficients()
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    y, state = expect_pair(answer(x, alpha, delta, theta, eta, skip))
    expect_shape(y, tuple(x.shape))
    if y.is_complex():
        raise Diagnosis("y is complex; the output is the real part of Σ η h. The state alone stays complex.")
    expect_shape(state, (2, 3, 2), "the last state", "batch channel mode")
    expect_causal(lambda x: answer(x, alpha, delta, theta, eta, skip)[0], x)
    right, last = ops.complex_ema_reference(x, alpha, delta, theta, eta, skip)
    real_eta = torch.complex(eta.real, zero)
    expect_close(y, right, mistakes={
        "the skip is missing: the token itself is added to the output, with the weight `skip`.":
            right - skip * x,
        "the memory does not turn: θ is missing in q.": ops.complex_ema_reference(x, alpha, delta, zero, eta, skip)[0],
        "your memories fade by 1 - α; the size of q is 1 - αδ.":
            ops.complex_ema_reference(x, alpha, one, theta, eta, skip)[0],
        "the token is turned on its way in. That is the paper's Eq 2; here p = α is real, as in the released code.":
            ops.complex_ema_reference(x, alpha, delta, theta, eta, skip, input_phase=True)[0],
        "you take the real part of h before you multiply by η. First η h, then the real part: "
        "Re(η h) also contains -Im η · Im h.": ops.complex_ema_reference(x, alpha, delta, theta, real_eta, skip)[0],
        "your memory turns the other way: the factor is exp(+iθ).":
            ops.complex_ema_reference(x, alpha, delta, -theta, eta, skip)[0],
    })  # fmt: skip
    if not state.is_complex():
        raise Diagnosis("the state you return is real: half of the memory, its imaginary part, is lost.")
    expect_close(
        torch.view_as_real(state), torch.view_as_real(last), "the last state", "batch channel mode part",
        mistakes={
            "you return the state already multiplied by η. Reading must not change the memory: return h itself.":
                torch.view_as_real(eta * last),
        },
    )  # fmt: skip
    expect_streams(lambda x, state: answer(x, alpha, delta, theta, eta, skip, state), x)


@exercise(
    success="its size is how much is kept in a step, its angle is how far the memory turns.",
    hints=[
        "A complex number with the size r and the angle θ is r · exp(iθ) = r cos θ + i r sin θ.",
        "The size is the part that a step keeps. Chapter 02 called it φ = 1 - αδ.",
        "`torch.polar(size, angle)` builds it; the angle is in radians.",
    ],
)
def pole(answer: Any) -> None:
    """`pole(alpha, delta, theta)` returns q, complex, of the shape of alpha."""
    alpha, delta, theta, _, _ = coefficients()
    q = expect_shape(answer(alpha, delta, theta), (3, 2), "q", "channel mode")
    size = 1 - alpha * delta
    if not q.is_complex():
        raise Diagnosis("q is real. It needs an angle too: it is a complex number, r cos θ + i r sin θ.")
    pairs = {
        "the size of your q is 1 - α; δ is missing. A step keeps 1 - αδ.": torch.polar(1 - alpha, theta),
        "the size of your q is αδ. That is what a step loses; it keeps 1 - αδ.": torch.polar(alpha * delta, theta),
        "your q turns the other way: the angle is +θ.": torch.polar(size, -theta),
        "your angle is read as degrees; θ is in radians already.": torch.polar(size, theta * math.pi / 180),
        "the size is missing: your q has the size 1 and would never fade.": torch.polar(torch.ones_like(size), theta),
    }
    expect_close(
        torch.view_as_real(q), torch.view_as_real(torch.polar(size, theta)), "q", "channel mode part",
        mistakes={sentence: torch.view_as_real(wrong) for sentence, wrong in pairs.items()},
    )  # fmt: skip


@exercise(
    success="only the size counts: turning does not make a memory longer.",
    hints=[
        "After n steps the state has been multiplied by qⁿ. What is the size of qⁿ?",
        "Solve |q|ⁿ = ½ for n, as in chapter 01.",
        "`abs(q)` is the size of a complex number; `math.log` takes the natural logarithm.",
    ],
)
def half_life_of_pole(answer: Any) -> None:
    """`half_life_of_pole(q)`, q a complex number with 0 < |q| < 1: steps until half the size is left."""
    known = ((0.8, 0.0), (0.8, 1.0), (0.95, -0.4), (0.5, 1.3))
    for size, angle in cases(known, lambda numbers: (numbers.uniform(0.3, 0.98), numbers.uniform(-1.4, 1.4))):
        q = complex(size * math.cos(angle), size * math.sin(angle))
        what = f"the half-life for |q| = {size:g}, θ = {angle:g}"
        steps, right = expect_number(answer(q), what), math.log(0.5) / math.log(size)
        mistakes = {
            "θ changes your half-life: you use the real part of q. Turning is not forgetting; use the size |q|.":
                math.log(0.5) / math.log(abs(q.real)),
            "that is the time constant, after which 1/e is left; the half-life is shorter by the factor ln 2.":
                -1 / math.log(size),
            "your half-life is negative: both logarithms are, and so their quotient is positive.": -right,
            "you halve the squared size. The half-life of |q|² is half as long as that of |q|.": right / 2,
        }  # fmt: skip
        if math.isclose(steps, right, rel_tol=1e-6):
            continue
        for sentence, wrong in mistakes.items():
            if math.isclose(steps, wrong, rel_tol=1e-6):
                raise Diagnosis(sentence)
        raise Diagnosis(f"{what} should be {right:.4g} steps, yours is {steps:.4g}.")


@exercise(
    success="fading waves, mixed: the weights may be negative.",
    hints=[
        "One mode answers a single 1 with η p, then η p q, then η p q² and so on: complex numbers.",
        "Give the ages a dimension of their own: `q[..., None] ** torch.arange(length)` is (channel, mode, length).",
        "Sum over the modes, dimension 1, and take `.real` at the end.",
    ],
)
def kernel_real_part(answer: Any) -> None:
    """`kernel_real_part(p, q, eta, length)` returns K_τ = Re Σ η p q^τ, (channel, length), without the skip."""
    (alpha, delta, theta, eta, _), length = coefficients(), 6
    p, q = alpha, torch.polar(1 - alpha * delta, theta)
    result = answer(p, q, eta, length)
    if isinstance(result, Tensor) and tuple(result.shape) == (3, 2, length):
        raise Diagnosis("your kernel still has one row per mode; a channel has one kernel, the sum over its modes.")
    weights = expect_shape(result, (3, length), "your kernel", "channel time")
    if weights.is_complex():
        raise Diagnosis("your kernel is complex; the output only ever sees its real part.")
    waves = (eta * p)[..., None] * q[..., None] ** torch.arange(length + 1)
    right = waves.sum(1).real[:, :length]
    expect_close(weights, right, "your kernel", "channel time", mistakes={
        "you take the size |·| where the real part belongs: the rhythm is gone, no weight is ever negative.":
            waves.sum(1).abs()[:, :length],
        "you take the size of each mode: what is left are the fading averages of chapter 02.":
            waves.abs().sum(1)[:, :length],
        "your kernel is twice too large: the conjugate of each mode is counted as well. "
        "½ (z + conj z) is the real part; nothing needs to be doubled.": 2 * right,
        "the token is turned on its way in: your kernel begins with η p q / |q|. Here p is real.":
            ops.complex_ema_kernel(alpha, delta, theta, eta, length, input_phase=True),
        "you drop the imaginary part of η. It sets where in its turn a wave starts.":
            (waves / eta[..., None] * eta.real[..., None]).sum(1).real[:, :length],
        "you take the imaginary part; the output is the real one.": waves.sum(1).imag[:, :length],
        "your kernel is one step too old: the token of this very step has the age 0 and has not turned yet.":
            waves.sum(1).real[:, 1:],
    })  # fmt: skip


@exercise(
    success="the bug is gone: first η h, then the real part.",
    hints=[
        "Give it a real η. Is the answer right then?",
        "At which place does the calculation stop being complex?",
        "Re(η h) = Re η · Re h - Im η · Im h. Which of the two products does the code lose?",
    ],
)
def mix_modes(answer: Any) -> None:
    """The repaired `mix_modes(x, p, q, eta)`, x (time,), coefficients (mode,): y_t = Re Σ η h_t from a zero state."""
    alpha, delta, theta, eta, _ = (value[0] for value in coefficients())
    q, x = torch.polar(1 - alpha * delta, theta), signal(1, 9, 1)[0, :, 0]
    what = "y for a real η"
    plain = torch.complex(eta.real, torch.zeros_like(eta.real))
    y = expect_shape(answer(x, alpha, q, plain), (9,), what, "time")
    if y.is_complex():
        raise Diagnosis("y is complex now; the real part is still to be taken, after the sum.")
    expect_close(y, _mixed(x, alpha, q, plain), what, "time", mistakes={
        "you keep only the real part of the state from one step to the next. The memory itself must stay complex.":
            _mixed_real_state(x, alpha, q, plain),
    })  # fmt: skip
    expect_close(answer(x, alpha, q, eta), _mixed(x, alpha, q, eta), "η real is right; with a complex η y", "time",
        mistakes={
            "with a real η all is well, with a complex one not: the real part is taken of h, before η. "
            "The share -Im η · Im h is lost.": _mixed(x, alpha, q, plain),
            "the share Im η · Im h is there, but with the wrong sign: i · i = -1. Did you take conj(η)?":
                _mixed(x, alpha, q, eta.conj()),
            "you multiply by the size of η; its angle belongs to it.":
                _mixed(x, alpha, q, torch.complex(eta.abs(), torch.zeros_like(eta.real))),
        })  # fmt: skip


def _mixed(x: Tensor, p: Tensor, q: Tensor, eta: Tensor) -> Tensor:
    """y_t = Re Σ η h_t, as a sum over the ages of all tokens so far."""
    kernel = ((eta * p)[:, None] * q[:, None] ** torch.arange(len(x))).sum(0).real
    return torch.stack([x[: t + 1] @ kernel[: t + 1].flip(0) for t in range(len(x))])


def _mixed_real_state(x: Tensor, p: Tensor, q: Tensor, eta: Tensor) -> Tensor:
    """The same with a state that loses its imaginary part at each step: only Re q is ever used."""
    return _mixed(x, p, torch.complex(q.real, torch.zeros_like(q.real)), eta)
