"""The memory-wall explorer: a Transformer's cache grows with its context, Megalodon's state does not."""

from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from megalodon_edu.explorers.controls import Choice, Range
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.models.config import MegalodonConfig, TransformerConfig
from megalodon_edu.models.megalodon import megalodon_state_bytes
from megalodon_edu.models.transformer import transformer_state_bytes
from megalodon_edu.plots import style

LEAST_CONTEXT, MOST_CONTEXT, POINTS = 1000, 10_000_000, 121
MODELS = {"200M": "200M", "1.3B": "1.3B", "7B": "7.3B"}
PRECISIONS = {"float32 (4 bytes)": 4, "bfloat16 (2 bytes)": 2, "8 bits (1 byte)": 1}
GPUS = {"8 GB": 8e9, "24 GB": 24e9, "80 GB": 80e9}


class MemoryWallExplorer(Explorer):
    """Bytes that a decoder must keep to write the next token, by the length of what it has read.

    A Transformer keeps keys and values of every token, 2 · layers · kv heads · head width · context · bytes · batch.
    Megalodon keeps those of one chunk at most, CEMA's state and the norms' statistics. Controls: `context`, `model`,
    `precision`, `queries_per_key` (grouped-query attention: how many query heads share a key head) and `batch`.
    """

    script = "memory_wall.js"
    context = Range(32_768, LEAST_CONTEXT, MOST_CONTEXT, whole=True)
    model = Choice("7B", list(MODELS))
    precision = Choice("bfloat16 (2 bytes)", list(PRECISIONS))
    queries_per_key = Choice(1, (1, 2, 4, 8))
    batch = Choice(1, (1, 2, 4, 8, 16, 32, 64))

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        sizes = ("num_layers", "model_dim", "z_dim", "value_dim", "cema_ndim", "chunk_size", "norm_num_groups")
        models = {name: _config(name) for name in MODELS}
        return {
            "points": POINTS,
            "models": {name: {size: getattr(config, size) for size in sizes} for name, config in models.items()},
            "precisions": PRECISIONS,
            "gpus": GPUS,
        }

    def cache_bytes(self, context: int) -> int:
        """The Transformer's cache after `context` tokens, with heads of 128 features."""
        config = _config(self.model)
        heads = config.model_dim // 128
        transformer = TransformerConfig(
            num_layers=config.num_layers,
            model_dim=config.model_dim,
            ffn_hidden_dim=config.ffn_hidden_dim,
            num_heads=heads,
            kv_heads=heads // self.queries_per_key,
        )
        return transformer_state_bytes(transformer, context, self.batch, PRECISIONS[self.precision])

    def state_bytes(self, context: int) -> int:
        """The most that Megalodon's state takes on the way to `context` tokens: just before a chunk is full."""
        config = _config(self.model)
        fullest = min(context, config.chunk_size - 1)
        return megalodon_state_bytes(config, fullest, self.batch, PRECISIONS[self.precision])

    def values(self) -> Values:
        """Both sizes over the whole range of contexts and at `context`, and where the cache outgrows each GPU."""
        share = np.arange(POINTS) / (POINTS - 1)
        contexts = np.rint(LEAST_CONTEXT * (MOST_CONTEXT / LEAST_CONTEXT) ** share).astype(int)
        return {
            "contexts": contexts,
            "cache": np.array([self.cache_bytes(int(context)) for context in contexts]),
            "state": np.array([self.state_bytes(int(context)) for context in contexts]),
            "here": np.array([self.cache_bytes(self.context), self.state_bytes(self.context)]),
            "walls": np.array([size / self.cache_bytes(1) for size in GPUS.values()]),
        }

    @style.styled
    def figure(self) -> Figure:
        """Both sizes against the context, on logarithmic axes, with the memory of three GPUs."""
        values = self.values()
        figure, axes = style.figure(width=8, height=4)
        for name, size in GPUS.items():
            axes.axhline(size, color=style.GREY, linestyle=":", linewidth=1.2)
            style.label_line(axes, LEAST_CONTEXT, size, f"{name} GPU", style.GREY, xytext=(2, 3))
        lines = (("cache", style.TRANSFORMER, "Transformer: KV cache"), ("state", style.MEGALODON, "Megalodon: state"))
        for name, colour, label in lines:
            axes.plot(values["contexts"], values[name], color=colour, linewidth=2.5)
            style.label_line(axes, MOST_CONTEXT, values[name][-1], label, colour, xytext=(-4, 8), ha="right")
        axes.plot([self.context] * 2, values["here"], "o", color=style.BLACK, markersize=6)
        axes.set(xscale="log", yscale="log", xlabel="context, tokens", ylabel="bytes kept")
        axes.set(xlim=(LEAST_CONTEXT, MOST_CONTEXT), title=f"{self.model}, {self.precision}, batch {self.batch}")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(EngFormatter(unit="B"))
        axes.minorticks_off()
        return figure

    def description(self) -> str:
        """The picture in words."""
        values = self.values()
        cache, state = values["here"] / 1e9
        walls = ", ".join(f"{name} at {wall:,.0f}" for name, wall in zip(GPUS, values["walls"].tolist(), strict=True))
        return (
            f"Bytes kept against context length for a {self.model} model on logarithmic axes. The Transformer's cache "
            f"rises in a straight line and passes the GPUs' memories at these numbers of tokens: {walls}. Megalodon's "
            f"state stays flat after its first chunk. At {self.context:,} tokens they take {cache:.3g} and "
            f"{state:.3g} gigabytes."
        )


def _config(model: str) -> MegalodonConfig:
    return MegalodonConfig.preset(MODELS[model])
