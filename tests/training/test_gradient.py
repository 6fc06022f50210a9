"""A recorded gradient is the gradient; dropout draws anew at every replay, by the seed. On a GPU."""

import pytest
import torch
from tiny_models import build_megalodon, build_transformer

from megalodon_edu.training.gradient import RecordedGradient, accumulate_gradient

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("build", [build_megalodon, build_transformer])
def test_it_is_the_gradient_of_every_batch(build, parts, windows):
    plain, recorded = build().cuda(), build().cuda()
    gradient = RecordedGradient(recorded, parts, torch.float32, recorded.loss)
    for step in range(3):
        batch = windows(step).cuda()
        losses = accumulate_gradient(plain, batch, parts, torch.float32), gradient(batch)
        torch.testing.assert_close(*losses)
        for a, b in zip(plain.parameters(), recorded.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_dropout_follows_the_seed(windows):
    model = build_megalodon(dropout=0.3).cuda()
    gradient, batch = RecordedGradient(model, 1, torch.float32, model.loss), windows(0).cuda()

    def loss(seed):
        torch.manual_seed(seed)
        return gradient(batch).item()

    first = loss(1)
    assert loss(2) != first and loss(1) == first


def test_it_needs_equal_parts(windows):
    model = build_megalodon().cuda()
    with pytest.raises(ValueError, match="accumulate must divide the batch of 4 windows, got 3"):
        RecordedGradient(model, 3, torch.float32, model.loss)(windows(0).cuda())
