"""RMSNorm and LayerNorm: the definitions, the types, and the errors people make."""

import pytest
import torch

from megalodon_edu.ops.layer_norm import layer_norm, rms_norm


def make():
    torch.manual_seed(0)
    return 3 + torch.randn(2, 5, 7), torch.randn(2, 7)


def test_against_the_definitions():
    x, (weight, bias) = make()
    root = x.square().mean(-1, keepdim=True).add(1e-3).sqrt()
    torch.testing.assert_close(rms_norm(x, weight, 1e-3), x / root * (weight + 1))
    torch.testing.assert_close(rms_norm(x, eps=1e-3), x / root)
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / centred.square().mean(-1, keepdim=True).add(1e-3).sqrt()
    torch.testing.assert_close(layer_norm(x, weight, bias, 1e-3), normal * (weight + 1) + bias)
    torch.testing.assert_close(layer_norm(x, bias=bias, eps=1e-3), normal + bias)


@pytest.mark.parametrize("face", [rms_norm, layer_norm])
def test_narrow_inputs_are_normalised_in_float32(face):
    x, (weight, _) = make()
    y = face(x.bfloat16(), weight)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, face(x.bfloat16().float(), weight).bfloat16())


@pytest.mark.parametrize("face", [rms_norm, layer_norm])
def test_bad_input_is_named(face):
    x, (weight, _) = make()
    for arguments, error, message in (
        (([1.0],), TypeError, "x must be a Tensor, got list"),
        ((x.long(),), TypeError, "x must hold floating-point numbers, got torch.int64"),
        ((x[0, 0, 0],), ValueError, "x must have a dimension of features"),
        ((x[:0],), ValueError, r"x must not be empty, got the shape \(0, 5, 7\)"),
        ((x, weight[1:]), ValueError, r"weight must have the shape \(channel=7\), got \(6,\)"),
        ((x, weight.long()), TypeError, "weight must hold floating-point numbers"),
    ):
        with pytest.raises(error, match=message):
            face(*arguments)
    with pytest.raises(ValueError, match="eps must be a finite number above 0, got 0"):
        face(x, eps=0)
