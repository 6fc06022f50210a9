"""Solutions of chapter 12."""

import math

import torch
from torch.nn import functional as F


def learning_rate(step, steps, peak, warmup, final):
    rise = min(1, (step + 1) / warmup)
    half_cosine = (1 + math.cos(math.pi * step / steps)) / 2
    return peak * rise * (final + (1 - final) * half_cosine)


def windows(tokens, batch, length, generator):
    places = len(tokens) - length
    starts = torch.randint(0, places, (batch,), generator=generator)
    return tokens[starts[:, None] + torch.arange(length + 1)]


def bits_per_byte(losses):
    nats = sum(one.sum().item() for one in losses)
    return nats / math.log(2) / sum(len(one) for one in losses)


def accumulate(loss_of, weight, batch, parts):
    weight.grad = None
    for part in batch.chunk(parts):
        (loss_of(part) * len(part) / len(batch)).backward()
    return weight.grad


def training_loop(model, batches, rate):
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    losses = []
    for batch in batches:
        logits, _ = model(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
