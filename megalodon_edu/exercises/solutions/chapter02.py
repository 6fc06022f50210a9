"""Solutions to the exercises of chapter 02."""

import torch


def damped_ema(x, alpha, delta, beta, eta, state=None):  # type: ignore[no-untyped-def]
    h = torch.zeros(x.shape[0], *alpha.shape, dtype=x.dtype) if state is None else state
    y = []
    for t in range(x.shape[1]):
        h = alpha * beta * x[:, t, :, None] + (1 - alpha * delta) * h
        y.append((eta * h).sum(-1))
    return torch.stack(y, dim=1), h
