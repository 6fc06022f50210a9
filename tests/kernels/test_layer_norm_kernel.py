"""RMSNorm and LayerNorm in Triton: values and every gradient against the torch faces in float64."""

import pytest
import torch

from megalodon_edu.kernels import layer_norm_triton, rms_norm_triton
from megalodon_edu.kernels.layer_norm import Tiles, _backward, _forward
from megalodon_edu.ops.layer_norm import layer_norm, rms_norm

PAIRS = {
    "rms": (rms_norm_triton, rms_norm, 1),
    "rms without gain": (rms_norm_triton, rms_norm, 0),
    "layer": (layer_norm_triton, layer_norm, 2),
    "layer without bias": (layer_norm_triton, layer_norm, 1),
    "layer without both": (layer_norm_triton, layer_norm, 0),
}
"""The two faces, and how many parameters they are given."""


def make(device, shape, dtype=torch.float32):
    torch.manual_seed(0)
    return [(3 + 2 * torch.randn(shape)).to(device, dtype), *torch.randn(2, shape[-1]).to(device)]


def run(face, inputs):
    """Return y and the gradients of x and of the parameters, by random weights."""
    wanted = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    y = face(*wanted)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y.detach(), *torch.autograd.grad(y, wanted, dy)]


def assert_close(which, inputs, limit=1e-5):
    kernel, truth, parameters = PAIRS[which]
    inputs = inputs[: 1 + parameters]
    expected = run(truth, [tensor.double() for tensor in inputs])
    for name, a, b in zip(("y", "dx", "dweight", "dbias"), run(kernel, inputs), expected, strict=False):
        error, size = (a.double() - b).norm(), b.norm()
        assert error <= limit * size, f"{name}: {error / size:.2e}"


@pytest.mark.parametrize("which", PAIRS)
@pytest.mark.parametrize("shape", [(3, 25, 100), (1, 1, 33), (7, 3000)])
def test_against_float64(device, which, shape):
    assert_close(which, make(device, shape))


@pytest.mark.parametrize("which", ["rms", "layer"])
def test_a_program_that_takes_several_tiles(device, which, monkeypatch):
    monkeypatch.setattr("megalodon_edu.kernels.layer_norm.PROGRAMS", 2)
    assert Tiles.of(101, 100).number > 5
    assert_close(which, make(device, (101, 100)))


def test_a_mean_of_1000_costs_only_the_rounding_of_the_mean(device):
    x, weight, bias = make(device, (20, 100))
    assert_close("layer", [x + 1000, weight, bias], 1e-4)  # float32 numbers near 1000 are 6e-5 apart


@pytest.mark.parametrize("which", ["rms", "layer"])
def test_types_and_layouts_go_through(device, which):
    kernel, truth, _ = PAIRS[which]
    x, weight, _ = make(device, (4, 6, 10), torch.float16)
    x = x.mT.contiguous().mT.requires_grad_()
    weight.requires_grad_()
    y = kernel(x, weight)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, truth(x, weight))
    found = torch.autograd.grad(y, (x, weight), torch.ones_like(y))
    assert [gradient.dtype for gradient in found] == [torch.float16, torch.float32]
    torch.testing.assert_close(found, torch.autograd.grad(truth(x, weight), (x, weight), torch.ones_like(y)))
    with torch.no_grad():
        assert torch.equal(kernel(x, weight), y)
    with pytest.raises(TypeError, match="x must be float32, float16 or bfloat16, got torch.float64"):
        kernel(x.double())
    with pytest.raises(ValueError, match="x must have at most 16384 features, got 16385"):
        kernel(torch.ones(1, 16_385, device=device))
    with pytest.raises(ValueError, match=r"weight must have the shape \(channel=10\)"):
        kernel(x, weight[1:])


@pytest.mark.parametrize("centred", [False, True])
def test_the_operators_are_registered_whole(device, centred):
    """Schema, shapes without numbers, autograd, and a graph of the compiler."""
    x, weight, bias = (t.requires_grad_() for t in make(device, (5, 6)))
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(_forward, (x, weight, bias if centred else None, 1e-5, centred), test_utils=tests)
    x, weight = x.detach(), weight.detach()
    torch.library.opcheck(_backward, (x, x, weight, centred, 1e-5, centred), test_utils=tests[:2])


@pytest.mark.parametrize("which", PAIRS)
def test_a_compiled_function_gives_the_same(device, which):
    kernel, _, parameters = PAIRS[which]
    inputs = make(device, (2, 9, 6))[: 1 + parameters]
    compiled = torch.compile(kernel, backend="aot_eager", fullgraph=True)
    for found, expected in zip(run(compiled, inputs), run(kernel, inputs), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("which", PAIRS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(3, 4095, 1024), (77, 8192), (9000, 64), (1, 16_384)])
def test_big_shapes_on_a_gpu(device, which, shape, dtype, limit):
    assert_close(which, make(device, shape, dtype), limit)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_same_bits_every_time(device):
    inputs = make(device, (16_384, 1024), torch.bfloat16)
    first = run(layer_norm_triton, inputs)
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, run(layer_norm_triton, inputs), strict=True))
