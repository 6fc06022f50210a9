"""The gradient of a batch's mean loss, part after part; on a GPU the work of one part can be recorded and replayed.

A small model's step is thousands of small launches, and ordering them can take the host longer than the GPU needs to do
them. Every part of every batch has one shape, so a part's forward and backward pass is recorded once, as a CUDA graph:
the GPU then replays it alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from megalodon_edu.models import LanguageModel
from megalodon_edu.training.precision import autocast

Loss = Callable[[Tensor], Tensor]

WARMUP = 2
"""Passes before a recording: compilation, and what libraries choose and reserve in their first calls."""


def require_parts(batch: int, parts: int) -> None:
    """Raise ValueError unless a batch of so many windows can be cut into that many equal parts."""
    if batch % parts:
        raise ValueError(f"accumulate must divide the batch of {batch} windows, got {parts}")


def accumulate_gradient(
    model: LanguageModel, batch: Tensor, parts: int, dtype: torch.dtype, loss_of: Loss | None = None
) -> Tensor:
    """Leave the gradient of the batch's mean loss in the parameters, part after part; return the loss.

    `loss_of` is the model's loss, compiled perhaps; None: `model.loss`.
    Raises ValueError unless the batch can be cut into that many equal parts.
    """
    require_parts(len(batch), parts)
    model.train()
    model.zero_grad(set_to_none=True)
    loss_of = model.loss if loss_of is None else loss_of
    total = torch.zeros((), device=batch.device)
    for part in batch.chunk(parts):
        total += _backward(part, parts, dtype, loss_of)
    return total


def _backward(part: Tensor, parts: int, dtype: torch.dtype, loss_of: Loss) -> Tensor:
    """Add a part's share of the gradient to the parameters' and return its share of the loss."""
    with autocast(dtype, part.device):
        loss = loss_of(part) / parts
    loss.backward()
    return loss.detach()


class RecordedGradient:
    """`accumulate_gradient` for batches of one shape on a CUDA GPU, recorded at the first call and replayed from then.

    The parameters' gradients are the recording's own tensors: each call overwrites them. Dropout draws anew at every
    replay, from the generator as it is then.
    """

    def __init__(self, model: LanguageModel, parts: int, dtype: torch.dtype, loss_of: Loss):
        self.model, self.parts, self.dtype, self.loss_of = model, parts, dtype, loss_of
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        """The loss, on the GPU. Raises ValueError unless the batch can be cut into equal parts."""
        require_parts(len(batch), self.parts)
        self.model.train()
        parts = batch.chunk(self.parts)
        if self.graph is None:
            self.graph = self._record(parts[0])
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if self.parts > 1:
            torch._foreach_zero_(gradients)
        total = torch.zeros((), device=batch.device)
        for part in parts:
            self.part.copy_(part)
            self.graph.replay()
            total += self.loss
        return total

    def _record(self, part: Tensor) -> torch.cuda.CUDAGraph:
        device = part.device
        self.part = part.clone()
        drawn = torch.cuda.get_rng_state(device)
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                self.model.zero_grad(set_to_none=True)
                self._pass()
            # A single part writes its gradient, which is the batch's; several add theirs to what is there.
            self.model.zero_grad(set_to_none=self.parts == 1)
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.loss = self._pass()
        torch.cuda.set_rng_state(drawn, device)
        return graph

    def _pass(self) -> Tensor:
        return _backward(self.part, self.parts, self.dtype, self.loss_of)
