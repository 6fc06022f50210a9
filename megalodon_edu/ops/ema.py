"""The exponential moving average, one number of memory per channel."""

import torch
from torch import Tensor


def ema_reference(x: Tensor, alpha: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """h_t = alpha x_t + (1 - alpha) h_{t-1}, one step at a time.

    x is (batch, time, channel), alpha (channel,), state (batch, channel) or None for zeros.
    Returns the averages (batch, time, channel) and the last state.
    """
    h = x.new_zeros(x.shape[0], x.shape[2]) if state is None else state
    steps = []
    for x_t in x.unbind(1):
        h = alpha * x_t + (1 - alpha) * h
        steps.append(h)
    return torch.stack(steps, 1), h
