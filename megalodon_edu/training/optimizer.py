"""AdamW, which parameters decay, and the learning rate of each step."""

import math
from typing import Any

import torch
from torch import nn

from megalodon_edu.training.options import TrainingOptions


def parameter_groups(model: nn.Module, weight_decay: float, decay_all: bool = False) -> list[dict[str, Any]]:
    """Split the parameters into those that decay towards zero and those that do not.

    Decaying: the weights of `nn.Linear` and `nn.Embedding`, the matrices whose size the decay is to hold down. The
    embedding is among them because it may be the same tensor as the head (`share_emb`).
    Not decaying: everything else, that is biases, the gains and offsets of norms and of the attention's queries and
    keys, and the parameters of the moving averages. For those, zero is no neutral place: the logits of alpha and delta
    at zero mean |q| = 0.75, a memory of a few tokens, so a decay would pull towards forgetting.
    `decay_all=True` lets every parameter decay, as the authors' code does.
    """
    matrices = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Linear, nn.Embedding))}
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        (decaying if decay_all or id(parameter) in matrices else others).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decaying, weight_decay), (others, 0.0))
        if parameters
    ]


def build_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.AdamW:
    """Return AdamW over the model's parameters; on a GPU an update of all of them is one kernel or two."""
    return torch.optim.AdamW(
        parameter_groups(model, options.weight_decay, options.decay_all),
        lr=options.learning_rate,
        betas=options.betas,
        eps=options.epsilon,
        fused=all(parameter.is_cuda for parameter in model.parameters()) or None,
    )


def learning_rate(step: int, progress: float, options: TrainingOptions) -> float:
    """Return the rate of step 0, 1, ...: a linear rise over the warm-up times half a cosine over the whole run.

    rate = peak · min(1, (step + 1) / warmup) · (f + (1 - f) (1 + cos(π progress)) / 2),  f = final_fraction

    `progress` runs from 0 to 1. It is step / steps, so the rate is a function of the step alone; only under a limit
    of time may the clock be ahead (see `loop.train`).
    """
    warmup = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return options.learning_rate * warmup * (options.final_fraction + (1 - options.final_fraction) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
