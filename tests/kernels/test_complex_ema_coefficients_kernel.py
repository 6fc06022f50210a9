"""CEMA's coefficients by Triton against the module's own PyTorch code in float64."""

import pytest
import torch

from megalodon_edu.kernels.complex_ema_coefficients import complex_ema_coefficients_triton
from megalodon_edu.nn import ComplexEMA


def parameters(module):
    return module.alpha, module.delta, module.theta, module.gamma


@pytest.mark.parametrize(("channels", "modes"), [(1, 1), (5, 3), (19, 16), (3, 130)])
def test_coefficients_and_gradients_are_those_of_the_module(channels, modes, device):
    torch.manual_seed(0)
    kernels, plain = (ComplexEMA(channels, modes, backend="torch").to(device) for _ in range(2))
    plain.load_state_dict(kernels.state_dict())
    found = complex_ema_coefficients_triton(*parameters(kernels))
    expected = plain.coefficients()[:4]
    weights = [torch.randn_like(value) for value in expected]
    for coefficients in (found, expected):
        sum((weight * value).real.sum() for weight, value in zip(weights, coefficients, strict=True)).backward()
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
    for a, b in zip(parameters(kernels), parameters(plain), strict=True):
        assert a.grad.shape == a.shape
        torch.testing.assert_close(a.grad, b.grad, rtol=2e-6, atol=1e-7)


def test_without_gradients_nothing_is_recorded(device):
    with torch.no_grad():
        found = complex_ema_coefficients_triton(*parameters(ComplexEMA(4, 2).to(device)))
    assert not any(value.requires_grad for value in found)


def test_other_shapes_and_types_are_named(device):
    alpha, delta, theta, gamma = parameters(ComplexEMA(4, 2).to(device))
    with pytest.raises(ValueError, match=r"theta must have the shape \(channel=4, one=1, one=1\)"):
        complex_ema_coefficients_triton(alpha, delta, theta[:2], gamma)
    with pytest.raises(TypeError, match="gamma must be float32, got torch.float64; use the torch face"):
        complex_ema_coefficients_triton(alpha, delta, theta, gamma.double())
