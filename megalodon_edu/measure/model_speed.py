"""Megalodon beside the Transformer of the same size: a forward pass, and a whole training step."""

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.timing import Row, median_seconds
from megalodon_edu.models import LanguageModel, Megalodon, MegalodonConfig, Transformer, match_transformer
from megalodon_edu.training.gradient import accumulate_gradient
from megalodon_edu.training.optimizer import build_optimizer
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.precision import autocast


def pair(config: MegalodonConfig, device: torch.device) -> dict[str, LanguageModel]:
    """Return Megalodon and the Transformer that has as many parameters."""
    torch.manual_seed(0)
    return {
        "megalodon": Megalodon(config).to(device),
        "transformer": Transformer(match_transformer(config)).to(device),
    }


def model_speed(
    config: MegalodonConfig,
    contexts: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    tokens: int = 4096,
    repeats: int = 7,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Yield, for each context, the seconds of a forward pass and of a training step of both models.

    A batch holds `tokens` tokens whatever the context, or one sequence where that is longer: so the work of a
    model whose cost per token does not depend on the context stays the same. `ratio` is the Transformer's time over
    Megalodon's: above 1, Megalodon is faster.
    """
    for context in contexts:
        require_positive("context", context, least=2)
    models = pair(config, device)
    optimizers = {name: build_optimizer(model, TrainingOptions()) for name, model in models.items()}
    for context in contexts:
        shape = max(1, tokens // context), context + 1
        batch = torch.randint(1, config.vocab_size, shape, generator=torch.Generator().manual_seed(0)).to(device)
        forward = {name: _forward(model, batch[:, :-1], dtype) for name, model in models.items()}
        step = {name: _step(model, optimizers[name], batch, dtype) for name, model in models.items()}
        for what, functions in (("forward", forward), ("training step", step)):
            found = median_seconds(functions, device, repeats, warmup, clock)
            ratio = found["transformer"] / found["megalodon"]
            yield {"context": context, "batch": shape[0], "what": what, "seconds": found, "ratio": ratio}


def _forward(model: LanguageModel, tokens: Tensor, dtype: torch.dtype) -> Callable[[], object]:
    def forward() -> object:
        model.eval()
        with torch.inference_mode(), autocast(dtype, tokens.device):
            return model(tokens)

    return forward


def _step(
    model: LanguageModel, optimizer: torch.optim.Optimizer, batch: Tensor, dtype: torch.dtype
) -> Callable[[], object]:
    def step() -> object:
        accumulate_gradient(model, batch, 1, dtype)
        return optimizer.step()

    return step
