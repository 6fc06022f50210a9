"""EMA, damped EMA and CEMA: the three faces of each agree, in values, states and gradients."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megalodon_edu.ops.complex_ema import (
    complex_ema_chunked,
    complex_ema_convolution,
    complex_ema_kernel,
    complex_ema_reference,
    harmonic_angles,
)
from megalodon_edu.ops.damped_ema import (
    damped_ema_chunked,
    damped_ema_convolution,
    damped_ema_kernel,
    damped_ema_reference,
)
from megalodon_edu.ops.ema import ema_chunked, ema_convolution, ema_kernel, ema_reference, half_life

FACES = {
    "ema": (ema_reference, ema_convolution, ema_chunked),
    "damped": (damped_ema_reference, damped_ema_convolution, damped_ema_chunked),
    "complex": (complex_ema_reference, complex_ema_convolution, complex_ema_chunked),
}
FACES["paper"] = tuple(partial(face, input_phase=True) for face in FACES["complex"])


def make(family: str, batch: int, time: int, channels: int, modes: int = 3, seed: int = 0):
    """x, coefficients and a non-zero state in float64."""
    torch.manual_seed(seed)

    def unit(*shape):
        return 0.02 + 0.96 * torch.rand(*shape, dtype=torch.float64)

    x = torch.randn(batch, time, channels, dtype=torch.float64)
    if family == "ema":
        return x, (unit(channels),), torch.randn(batch, channels, dtype=torch.float64)
    alpha, delta = unit(channels, modes), unit(channels, modes)
    if family == "damped":
        beta, eta = (torch.randn(channels, modes, dtype=torch.float64) for _ in range(2))
        return x, (alpha, delta, beta, eta), torch.randn(batch, channels, modes, dtype=torch.float64)
    theta = harmonic_angles(unit(channels), modes)
    eta = torch.randn(channels, modes, dtype=torch.complex128)
    skip = torch.randn(channels, dtype=torch.float64)
    return x, (alpha, delta, theta, eta, skip), torch.randn(batch, channels, modes, dtype=torch.complex128)


@pytest.mark.parametrize("family", FACES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(time=st.integers(1, 150), batch=st.integers(1, 3), channels=st.integers(1, 4), chunk=st.integers(1, 40))
def test_faces_agree_at_any_length(family, time, batch, channels, chunk):
    reference, convolution, chunked = FACES[family]
    x, coefficients, state = make(family, batch, time, channels)
    for given_state in (None, state):
        y, last = reference(x, *coefficients, given_state)
        for face, options in ((convolution, {}), (chunked, {"chunk_size": chunk})):
            other, other_last = face(x, *coefficients, given_state, **options)
            torch.testing.assert_close(other, y, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(other_last, last, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("family", FACES)
@pytest.mark.parametrize("time", [1, 37])
def test_gradients_agree(family, time):
    x, coefficients, state = make(family, 2, time, 3)
    gradients = []
    for face in FACES[family]:
        inputs = [t.clone().requires_grad_() for t in (x, *coefficients, state)]
        y, last = face(*inputs)
        torch.manual_seed(1)
        weights = torch.randn(y.shape, dtype=y.dtype), torch.randn(last.shape, dtype=last.dtype)
        loss = (y * weights[0]).sum() + (last * weights[1]).sum().real
        gradients.append(torch.autograd.grad(loss, inputs))
    for other in gradients[1:]:
        for found, expected in zip(other, gradients[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", FACES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 59), max_size=4, unique=True))
def test_streaming_in_any_pieces_equals_one_call(family, cuts):
    x, coefficients, _ = make(family, 2, 60, 3)
    for face in FACES[family]:
        whole, last = face(x, *coefficients)
        state, pieces = None, []
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
            y, state = face(x[:, start:end], *coefficients, state)
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(state, last, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("family", FACES)
def test_no_output_depends_on_a_later_input(family):
    x, coefficients, _ = make(family, 1, 50, 2)
    for face in FACES[family]:
        changed = x.clone()
        changed[:, 30] += 100
        difference = (face(changed, *coefficients)[0] - face(x, *coefficients)[0]).abs().amax((0, 2))
        assert difference[:30].max() < 1e-11
        assert difference[30] > 1e-3


@pytest.mark.parametrize("family", FACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_inputs_keep_their_dtype_and_a_float32_state(family, dtype):
    x, coefficients, state = make(family, 2, 70, 3)
    y, _ = FACES[family][0](x, *coefficients, state)
    for face in FACES[family]:
        narrow, narrow_last = face(x.to(dtype), *coefficients, state)
        assert narrow.dtype == dtype
        assert narrow_last.real.dtype == torch.float32
        error = (narrow.double() - y).norm() / y.norm()
        assert error < (1e-5 if dtype == torch.float32 else 1e-2)
        if dtype == torch.bfloat16:  # worked in float32 and rounded once: within half a step of bfloat16
            wide, _ = face(x.bfloat16().float(), *coefficients, state)
            assert torch.equal(narrow, wide.bfloat16())


@pytest.mark.parametrize("family", FACES)
def test_coefficients_in_float32_are_taken_to_float64_first(family):
    x, coefficients, _ = make(family, 1, 40, 3)
    narrow = [c.to(torch.complex64 if c.is_complex() else torch.float32) for c in coefficients]
    wide = [c.to(torch.complex128 if c.is_complex() else torch.float64) for c in narrow]
    for face in FACES[family]:
        torch.testing.assert_close(face(x, *narrow)[0], face(x, *wide)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FACES)
def test_a_memory_of_nothing_has_finite_gradients(family):
    x, coefficients, state = make(family, 1, 9, 2)
    ones = [torch.ones_like(c) if i < 2 and family != "ema" else c for i, c in enumerate(coefficients)]
    if family == "ema":
        ones = [torch.ones_like(coefficients[0])]
    gradients = []
    for face in FACES[family]:
        inputs = [t.clone().requires_grad_() for t in (x, *ones, state)]
        y, _ = face(*inputs)
        gradients.append(torch.autograd.grad((y**2).sum(), inputs))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-8, atol=1e-9)


def test_the_worked_example_by_hand():
    x = torch.tensor([4.0, 0, 0, 2, 0, 0], dtype=torch.float64)[None, :, None]
    y, state = ema_reference(x, torch.tensor([0.5]))
    assert y[0, :, 0].tolist() == [2, 1, 0.5, 1.25, 0.625, 0.3125]
    assert state.tolist() == [[0.3125]]


def test_kernels_equal_the_response_to_an_impulse():
    impulse = torch.zeros(1, 40, 3, dtype=torch.float64)
    impulse[:, 0] = 1
    _, (alpha,), _ = make("ema", 1, 1, 3)
    torch.testing.assert_close(ema_kernel(alpha, 40).mT, ema_reference(impulse, alpha)[0][0])
    _, c, _ = make("damped", 1, 1, 3)
    torch.testing.assert_close(damped_ema_kernel(*c, 40).mT, damped_ema_reference(impulse, *c)[0][0])
    _, c, _ = make("complex", 1, 1, 3)
    for phase in (False, True):
        response = complex_ema_reference(impulse, *c[:4], torch.zeros(3), input_phase=phase)[0][0]
        torch.testing.assert_close(complex_ema_kernel(*c[:4], 40, phase).mT, response)


def test_input_phase_is_absorbed_by_eta_from_a_zero_state():
    x, (alpha, delta, theta, eta, skip), _ = make("complex", 2, 30, 3)
    paper, _ = complex_ema_reference(x, alpha, delta, theta, eta, skip, input_phase=True)
    turned = eta * torch.polar(torch.ones_like(theta), theta)
    code, _ = complex_ema_reference(x, alpha, delta, theta, turned, skip)
    torch.testing.assert_close(paper, code)


def test_convolution_does_not_wrap_the_end_into_the_start():
    x = torch.zeros(1, 64, 1, dtype=torch.float64)
    x[0, -1] = 1e6
    y, _ = ema_convolution(x, torch.tensor([0.01]))
    assert y[0, :-1].abs().max() < 1e-6


def test_long_memory_in_float32_stays_close_to_float64():
    torch.manual_seed(0)
    x = torch.randn(1, 65_536, 2)
    alpha, delta = torch.full((2, 4), 0.01), torch.full((2, 4), 0.01)
    theta = harmonic_angles(torch.tensor([0.5, 0.9]), 4)
    eta, skip = torch.randn(2, 4, dtype=torch.complex64), torch.randn(2)
    truth, _ = complex_ema_convolution(x.double(), alpha, delta, theta, eta, skip)
    for face in (complex_ema_convolution, complex_ema_chunked):
        y, _ = face(x, alpha, delta, theta, eta, skip)
        assert (y - truth).norm() / truth.norm() < 1e-4


def test_half_life():
    assert half_life(0.5).item() == pytest.approx(1)
    assert half_life(1 - 2.4e-4).item() == pytest.approx(math.log(2) / 2.4e-4, rel=1e-2)
    assert half_life(1.0).item() == math.inf
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\], got 1.5"):
        half_life(1.5)
    with pytest.raises(TypeError, match="decay must be a number, got 'slow'"):
        half_life("slow")
    with pytest.raises(TypeError, match="decay must be real"):
        half_life(torch.tensor([0.5j]))


@pytest.mark.parametrize("face", range(3))
def test_bad_input_is_named(face):
    ema, complex_ema = FACES["ema"][face], FACES["complex"][face]
    x, (alpha,), state = make("ema", 2, 5, 3)
    with pytest.raises(ValueError, match=r"x must have the shape \(batch, time, channel\), got \(5, 3\)"):
        ema(x[0], alpha)
    with pytest.raises(TypeError, match="x must be a torch tensor"):
        ema(x.tolist(), alpha)
    with pytest.raises(TypeError, match=r"x must hold floating-point numbers, got torch\.int64"):
        ema(x.long(), alpha)
    for empty in (x[:, :0], x[:0]):
        with pytest.raises(ValueError, match="x must not be empty, got the shape"):
            ema(empty, alpha)
    with pytest.raises(TypeError, match=r"alpha must hold floating-point numbers, got torch\.complex128; take alpha"):
        ema(x, alpha + 0j)
    with pytest.raises(ValueError, match="alpha must have one row per channel"):
        ema(x, alpha[:2])
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\], got values from -1"):
        ema(x, alpha - alpha - 1)
    with pytest.raises(ValueError, match="alpha must lie in"):
        ema(x, alpha * math.nan)
    with pytest.raises(ValueError, match="state must have the shape"):
        ema(x, alpha, state[:1])
    x, (alpha, delta, theta, eta, skip), state = make("complex", 2, 5, 3)
    with pytest.raises(TypeError, match="eta must be complex"):
        complex_ema(x, alpha, delta, theta, eta.real, skip)
    with pytest.raises(TypeError, match="state must be complex"):
        complex_ema(x, alpha, delta, theta, eta, skip, state.real)
    with pytest.raises(ValueError, match="theta must have the shape"):
        complex_ema(x, alpha, delta, theta[:, :1], eta, skip)
    with pytest.raises(ValueError, match="theta must be finite, got 3 infinite or NaN of 9"):
        complex_ema(x, alpha, delta, theta.index_fill(1, torch.tensor(0), math.inf)[:1].expand(3, 3), eta, skip)
    with pytest.raises(ValueError, match="skip must be finite, got 3 infinite or NaN of 3"):
        complex_ema(x, alpha, delta, theta, eta, skip * math.nan)
    with pytest.raises(TypeError, match="skip must hold floating-point numbers"):
        complex_ema(x, alpha, delta, theta, eta, skip + 0j)
    damped = FACES["damped"][face]
    with pytest.raises(ValueError, match="eta must be finite"):
        damped(x, alpha, delta, alpha, alpha * math.nan)
    with pytest.raises(TypeError, match="beta must hold floating-point numbers"):
        damped(x, alpha, delta, eta, alpha)
    with pytest.raises(TypeError, match=r"state must be real, got torch\.int64"):
        damped(x, alpha, delta, alpha, alpha, state.real.long())
    x, (alpha,), _ = make("ema", 2, 5, 3)
    with pytest.raises(TypeError, match=r"state must be real, got torch\.complex128"):
        ema(x, alpha, torch.zeros(2, 3, dtype=torch.complex128))
