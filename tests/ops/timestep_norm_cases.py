"""Input, parameters and a state for the norms over time, and how their results are compared."""

import torch

from megalodon_edu.ops.timestep_norm import TimestepNormState


def make(batch=2, time=30, groups=3, width=2):
    torch.manual_seed(0)
    channels = groups * width
    x = 3 + torch.randn(batch, time, channels, dtype=torch.float64)
    weight, bias = torch.randn(2, channels, dtype=torch.float64)
    mean, var = torch.randn(batch, groups, dtype=torch.float64), torch.rand(batch, groups, dtype=torch.float64)
    return x, weight, bias, groups, TimestepNormState(torch.arange(batch) * 5, mean, var)


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-10)
    for a, b in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
