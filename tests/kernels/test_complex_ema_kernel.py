"""CEMA in Triton: values, last state and every gradient against the loop in float64."""

import pytest
import torch

from megalodon_edu.kernels import complex_ema, complex_ema_triton
from megalodon_edu.kernels.complex_ema import TILES, _backward, _forward, _Launches, _pieces
from megalodon_edu.ops.complex_ema import complex_ema_convolution, complex_ema_reference, harmonic_angles

NAMES = ("y", "last", "dx", "dalpha", "ddelta", "dtheta", "deta", "dskip", "dstate")
CHUNK = TILES.chunk


def make(device, batch, time, channels, modes, dtype=torch.float32):
    """x, alpha, delta, theta, eta, skip and a state; the coefficients in float64, as a module hands them over."""
    torch.manual_seed(time)
    alpha, delta = 0.02 + 0.96 * torch.rand(2, channels, modes, dtype=torch.float64)
    theta = harmonic_angles(torch.rand(channels, dtype=torch.float64), modes)
    eta = torch.randn(channels, modes, dtype=torch.complex128)
    skip = torch.randn(channels, dtype=torch.float64)
    state = torch.randn(batch, channels, modes, dtype=torch.complex64)
    x = torch.randn(batch, time, channels).to(dtype)
    return [tensor.to(device) for tensor in (x, alpha, delta, theta, eta, skip, state)]


def run(face, inputs, with_state=True, input_phase=False):
    """Return y, the last state, and every gradient (by random weights)."""
    *wanted, state = (tensor.detach().clone().requires_grad_() for tensor in inputs)
    given = state if with_state else None
    y, last = face(*wanted, given, input_phase)
    torch.manual_seed(1)
    draws = torch.randn(y.shape).to(y), torch.randn(last.shape, dtype=torch.complex64).to(last)
    if with_state:
        wanted.append(state)
    return [y, last, *torch.autograd.grad((y, last), wanted, draws)]


def assert_close(inputs, limit=1e-5, truth=complex_ema_reference, **how):
    found = run(complex_ema_triton, inputs, **how)
    wide = [tensor.to(torch.complex128 if tensor.is_complex() else torch.float64) for tensor in inputs]
    for name, a, b in zip(NAMES, found, run(truth, wide, **how), strict=False):
        error, size = (a.to(b.dtype) - b).norm(), b.norm()
        assert error <= limit * size, f"{name}: {error / size:.2e}"


@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no state"])
@pytest.mark.parametrize("time", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 5, (3 * TILES.least_chunks - 1) * CHUNK + 3])
def test_against_the_loop(device, time, with_state):
    assert_close(make(device, 2, time, 5, 3), with_state=with_state)


def test_segments_of_unequal_length_and_several_programs(device):
    time = (3 * TILES.least_chunks - 2) * CHUNK
    inputs = make(device, 9, time, 19, 2)
    (piece,) = _pieces(inputs[0])  # pairs of chunks alone
    assert piece.segments > 1 and piece.segments * piece.per_segment * CHUNK > time
    assert_close(inputs)


def test_segments_are_joined_where_programs_fill_the_gpu(device, monkeypatch):
    monkeypatch.setattr(complex_ema, "TILES", TILES._replace(programs=4, least_chunks=2))
    inputs = make(device, 4, 16 * CHUNK, 17, 2)
    (piece,) = _pieces(inputs[0])
    assert piece.segments == 8 and _Launches(inputs[0], inputs[1:2], False, piece).joined() == 2
    assert_close(inputs)


@pytest.mark.parametrize("modes", [1, 16, 17])
def test_any_number_of_modes(device, modes):
    assert_close(make(device, 1, 2 * CHUNK + 1, 3, modes))


def test_the_papers_input_phase(device):
    assert_close(make(device, 2, 2 * CHUNK + 7, 3, 4), input_phase=True)


def test_a_memory_of_nothing(device):
    inputs = make(device, 1, CHUNK + 3, 2, 2)
    inputs[1:3] = torch.ones_like(inputs[1]), torch.ones_like(inputs[2])
    found = run(complex_ema_triton, inputs)
    inputs[2] = inputs[2] - 1e-9  # at a decay of exactly 0, torch.polar has the gradient 0, which is not the limit
    for name, a, b in zip(NAMES, found, run(complex_ema_reference, [inputs[0].double(), *inputs[1:]]), strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-8, name


def test_a_long_memory(device):
    inputs = make(device, 1, 40 * CHUNK, 2, 3)
    inputs[1:3] = torch.full_like(inputs[1], 0.01), torch.full_like(inputs[2], 0.01)
    assert_close(inputs)


def test_streamed_in_pieces_equals_one_call(device):
    x, *coefficients, state = make(device, 2, 4 * CHUNK + 9, 3, 4)
    whole, last = complex_ema_triton(x, *coefficients, state)
    pieces = []
    for piece in x.split([1, CHUNK + 3, 2 * CHUNK, CHUNK + 5], 1):
        y, state = complex_ema_triton(piece, *coefficients, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)


def test_no_output_and_no_gradient_crosses_time_the_wrong_way(device):
    x, *coefficients, _ = make(device, 1, 20 * CHUNK, 2, 3)
    at = 12 * CHUNK + 4
    plain, _ = complex_ema_triton(x, *coefficients)
    x[:, at] += 100
    y, _ = complex_ema_triton(x.requires_grad_(), *coefficients)
    assert torch.equal(y[:, :at], plain[:, :at])
    assert not torch.equal(y[:, at], plain[:, at])
    (gradient,) = torch.autograd.grad(y[:, :at].square().sum(), x)
    assert (gradient[:, at:] == 0).all() and (gradient[:, :at] != 0).any()


def test_dtypes_go_through(device):
    x, *coefficients, state = make(device, 2, CHUNK + 5, 3, 2)
    truth, _ = complex_ema_reference(x.double(), *coefficients, state)
    narrow = [c.to(torch.complex64 if c.is_complex() else torch.float32) for c in coefficients]
    for dtype, limit in ((torch.float16, 1e-2), (torch.bfloat16, 1e-2), (torch.float32, 1e-5)):
        inputs = [t.detach().requires_grad_() for t in (x.to(dtype).mT.contiguous().mT, *narrow, state)]
        y, last = complex_ema_triton(*inputs)
        assert (y.dtype, last.dtype) == (dtype, torch.complex64)
        assert (y.double() - truth).norm() <= limit * truth.norm()
        gradients = torch.autograd.grad(y.sum() + last.sum().real, inputs)
        assert [gradient.dtype for gradient in gradients] == [t.dtype for t in inputs]


def test_what_does_not_fit_is_refused(device):
    x, *coefficients, state = make(device, 2, 5, 3, 2)
    with pytest.raises(TypeError, match="x must be float32, float16 or bfloat16, got torch.float64"):
        complex_ema_triton(x.double(), *coefficients, state)
    with pytest.raises(ValueError, match="state must have the shape"):
        complex_ema_triton(x, *coefficients, state[:1])
    with pytest.raises(TypeError, match="input_phase must be True or False"):
        complex_ema_triton(x, *coefficients, state, 1)


def test_the_operators_are_registered_whole(device):
    """Schema, shapes without numbers, autograd, and a graph of the compiler."""
    inputs = [tensor.requires_grad_() for tensor in make(device, 2, CHUNK + 5, 3, 2)]
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(_forward, (*inputs, False), test_utils=tests)
    x, *coefficients, state = (tensor.detach() for tensor in inputs)
    y, last, *kept = _forward(x, *coefficients, state, False)
    torch.library.opcheck(_backward, (y, last, x, *coefficients, *kept, False), test_utils=tests[:2])


def test_a_compiled_function_gives_the_same(device):
    inputs = make(device, 2, CHUNK + 5, 3, 2)
    compiled = torch.compile(complex_ema_triton, backend="aot_eager", fullgraph=True)
    for found, expected in zip(run(compiled, inputs), run(complex_ema_triton, inputs), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(3, 4095, 1024, 16), (2, 1000, 77, 5), (64, 37, 512, 16)])
def test_big_shapes_on_a_gpu(device, shape, dtype, limit):
    assert_close(make(device, *shape, dtype), limit, complex_ema_convolution)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_same_bits_every_time(device):
    inputs = make(device, 4, 4099, 512, 16, torch.bfloat16)
    first = run(complex_ema_triton, inputs)
    for _ in range(5):
        for a, b in zip(first, run(complex_ema_triton, inputs), strict=True):
            assert torch.equal(a, b)
