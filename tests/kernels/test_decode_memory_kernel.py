"""One token through Timestep Norm and CEMA in one launch, against the reference operators."""

import pytest
import torch

from megalodon_edu.kernels.decode_memory import memory_step_triton
from megalodon_edu.ops.complex_ema import complex_ema_reference
from megalodon_edu.ops.timestep_norm import TimestepNormState, timestep_norm_reference


@pytest.mark.parametrize(("groups", "width", "modes"), [(2, 4, 3), (3, 5, 16), (1, 33, 1)])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_values_and_states_are_those_of_the_reference(groups, width, modes, count, device):
    torch.manual_seed(0)
    batch, channels = 2, groups * width
    x = 3 + torch.randn(batch, channels, device=device)
    weight, bias, skip = torch.randn(3, channels, device=device)
    seen = TimestepNormState(
        torch.full((batch,), count, device=device),
        torch.randn(batch, groups, device=device) * (count > 0),
        torch.rand(batch, groups, device=device) * (count > 0),
    )
    alpha, delta = 0.1 + 0.8 * torch.rand(2, channels, modes, device=device)
    theta = torch.randn(channels, modes, device=device)
    eta = torch.randn(channels, modes, dtype=torch.complex64, device=device)
    ema = torch.randn(batch, channels, modes, dtype=torch.complex64, device=device)
    double = TimestepNormState(seen.count, seen.mean.double(), seen.var.double())
    normal, statistics = timestep_norm_reference(x.double()[:, None], weight, bias, groups, double)
    average, last = complex_ema_reference(normal, alpha, delta, theta, eta, skip, ema.to(torch.complex128))

    q = torch.polar(1 - alpha.double() * delta.double(), theta.double())
    parts = [t.float().contiguous() for t in (q.real, q.imag, alpha, eta.real, eta.imag)]
    averages = [part.clone() for part in (ema.real, ema.imag)]
    found = memory_step_triton(x, weight, bias, (seen.count + 1, seen.mean, seen.var), (*parts, skip), averages)
    expected = (normal[:, 0], average[:, 0], statistics.mean, statistics.var, last.real, last.imag)
    for a, b in zip((*found, seen.mean, seen.var, *averages), expected, strict=True):
        assert (a.double() - b).norm() <= 1e-5 * b.norm() + 1e-6


def test_what_does_not_fit_is_named(device):
    x, statistics = torch.ones(1, 4, device=device), [torch.ones(1, 2, device=device) for _ in range(2)]
    modes = torch.ones(4, 3, device=device)
    averages = [torch.ones(1, 4, 3, device=device) for _ in range(2)]
    count = torch.ones(1, dtype=torch.int64, device=device)

    def step(x=x, averages=averages, modes=modes):
        return memory_step_triton(x, x[0], x[0], (count, *statistics), (*[modes] * 5, x[0]), averages)

    with pytest.raises(ValueError, match="group must divide channel, got group=2 and channel=3"):
        step(x=x[:, :3])
    with pytest.raises(ValueError, match=r"coefficients\[0\] must have the shape \(channel=4, mode=3\)"):
        step(modes=modes[:, :2])
    with pytest.raises(TypeError, match=r"averages\[0\] must be contiguous and float32, got torch.float64"):
        step(averages=[average.double() for average in averages])
