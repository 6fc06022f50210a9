"""Forward and backward pass of whole models with their loss: Megalodon on its kernels, and its peers.

All models have the same depth, width, vocabulary and, within two percent, number of parameters. A compiled one is timed
as the training loop runs it on a GPU: recorded once as a CUDA graph, and replayed. Our Transformer has
our head and loss too; Hugging Face's Llama, where the package transformers is there, makes all logits first.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.device_timing import median_on_device, peak_bytes, release
from megalodon_edu.measure.failed import why_it_failed
from megalodon_edu.measure.timing import Row
from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, match_transformer
from megalodon_edu.models.compilation import compile_loss
from megalodon_edu.training.precision import autocast

BASELINE = "Transformer"
Loss = Callable[[Tensor, Tensor], Tensor]


class Entry(NamedTuple):
    """One line of the table: a model that `make` builds on the device for a context, and how it runs."""

    model: str
    compiled: bool
    make: Callable[[MegalodonConfig, int], tuple[nn.Module, Loss]]
    recompute: bool = False  # compiled so that less is kept for the backward pass


def _transformer(config: MegalodonConfig, context: int) -> tuple[nn.Module, Loss]:
    model = Transformer(match_transformer(config, context_size=context))
    return model, model.loss


def _megalodon(backend: str) -> Callable[[MegalodonConfig, int], tuple[nn.Module, Loss]]:
    def make(config: MegalodonConfig, context: int) -> tuple[nn.Module, Loss]:
        model = Megalodon(config, backend=backend)
        return model, model.loss

    return make


def _llama(config: MegalodonConfig, context: int) -> tuple[nn.Module, Loss]:
    transformers = import_module("transformers")  # optional, hence no import statement
    ours = match_transformer(config, context_size=context)
    sizes = transformers.LlamaConfig(
        vocab_size=ours.vocab_size,
        hidden_size=ours.model_dim,
        intermediate_size=ours.ffn_hidden_dim,
        num_hidden_layers=ours.num_layers,
        num_attention_heads=ours.num_heads,
        num_key_value_heads=ours.kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=ours.share_emb,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = transformers.LlamaForCausalLM(sizes)
    return model, lambda tokens, _: model(input_ids=tokens, labels=tokens).loss  # shifted inside


LLAMA = "Hugging Face Llama"


def entries(compiled: bool, kernels: bool) -> list[Entry]:
    """The lines for a device, the baseline first. `kernels`: whether Triton kernels run on it."""
    ways = ((False, False), (True, False), (True, True)) if compiled else ((False, False),)
    found = [Entry(BASELINE, way, _transformer, recompute) for way, recompute in ways]
    if kernels:
        found += [Entry("Megalodon, Triton", way, _megalodon("triton"), recompute) for way, recompute in ways]
    found.append(Entry("Megalodon, torch", False, _megalodon("torch")))
    if find_spec("transformers") is not None:
        found.append(Entry(LLAMA, False, _llama))
    return found


def training_speed(
    config: MegalodonConfig,
    shapes: Sequence[tuple[int, int]],
    device: torch.device,
    dtype: torch.dtype,
    lines: Sequence[Entry],
    repeats: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Yield, for each line and each shape (batch, context), the seconds of a forward and backward pass with the loss.

    `peak_bytes` are all bytes on a GPU: parameters in float32, gradients and what the pass holds; on a CPU the pass's
    own (None if compiled). `ratio` is tokens a second over those of the better baseline line so far. A line that fails
    has `note` instead of numbers. The models follow one another, each alone on the device.
    """
    for batch, context in shapes:
        require_positive("batch", batch)
        require_positive("context", context)
    baseline = dict.fromkeys(shapes, 0.0)
    for line in lines:
        for shape in shapes:
            way = {"compiled": line.compiled, "recompute": line.recompute}
            row: Row = {"model": line.model, **way, "batch": shape[0], "context": shape[1]}
            try:
                row |= _measured(config, line, shape, device, dtype, repeats, clock)
            except Exception as error:
                row["note"] = why_it_failed(error, compiling=line.compiled)
            release(device)
            if line.model == BASELINE:
                baseline[shape] = max(baseline[shape], row.get("tokens_per_second", 0.0))
            best = baseline[shape]
            row["ratio"] = row["tokens_per_second"] / best if best and "seconds" in row else None
            yield row


def _measured(
    config: MegalodonConfig,
    line: Entry,
    shape: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
    repeats: int,
    clock: Callable[[], float],
) -> Row:
    torch.manual_seed(0)
    with torch.device(device):
        model, loss_of = line.make(config, shape[1])
        tokens, targets = torch.randint(1, config.vocab_size, (2, *shape))
    if line.compiled:
        loss_of = compile_loss(loss_of, line.recompute)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with autocast(dtype, device):
            loss = loss_of(tokens, targets)
        loss.backward()

    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    first = time.perf_counter() - start
    peak = peak_bytes(step, device, whole=True) if device.type == "cuda" or not line.compiled else None
    found = median_on_device(step, device, repeats, warmup=2, graph=line.compiled, clock=clock)
    return {
        "seconds": found.seconds,
        "how": found.how,
        "tokens_per_second": shape[0] * shape[1] / found.seconds,
        "peak_bytes": peak,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "first_step_seconds": first,
    }
