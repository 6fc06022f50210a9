"""What the bench of kernels compares computes the same, forward and backward."""

import pytest
import torch

from megalodon_edu.measure.operator_cases import Shapes, operator_cases

TINY = Shapes(((2, 9),), channels=4, modes=2, groups=2, chunk=8, key=4, value=6, vocabulary=8)


@pytest.mark.parametrize("number", range(7))
def test_both_faces_of_a_case_give_the_same_gradients(device, number):
    case = list(operator_cases(TINY, device, torch.float32))[number]

    def gradients(face):
        inputs = [t.requires_grad_() if t.is_floating_point() or t.is_complex() else t for t in case.inputs()]
        y = face(*inputs)
        assert y.shape == case.output
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
        return [y.detach(), *torch.autograd.grad(y, [t for t in inputs if t.requires_grad], weights)]

    for found, expected in zip(gradients(case.kernel()), gradients(case.torch_face), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
