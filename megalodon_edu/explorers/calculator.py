"""The calculator: what a Megalodon and a Transformer of the same size cost, in bytes and FLOPs, at any context."""

from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from megalodon_edu.explorers.controls import Choice, Range
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.measure import cost_model
from megalodon_edu.models import PRESETS, MegalodonConfig, ModelConfig, TransformerConfig, match_transformer
from megalodon_edu.plots import style

BILLION = 1e9
LEAST_CONTEXT, MOST_CONTEXT, POINTS = 1000, 10_000_000, 481
HEAD_WIDTH = 128
PRECISIONS = {"float32 (4 bytes)": 4, "bfloat16 (2 bytes)": 2, "8 bits (1 byte)": 1}
CHUNKS = {"of the preset": None, "2048 (released code)": 2048, "4096 (paper's 7B run)": 4096}
GPUS = {"8 GB": 8e9, "24 GB": 24e9, "80 GB": 80e9}
WRITING, NEXT, READING, TRAINING = QUANTITIES = (
    "memory while writing",
    "FLOPs for the next token",
    "FLOPs to read the context",
    "memory of a training step",
)


class MemoryCalculatorExplorer(Explorer):
    """Memory and FLOPs of a Megalodon and of the Transformer with as many parameters, by the formulas of `cost_model`.

    Controls: `quantity` (what is drawn), `context`, `model` (a preset), `precision` of weights and cache,
    `queries_per_key` (how many query heads, of 128 features, share a key head; at most all), `batch` (texts at once;
    all FLOPs and bytes are for all of them) and `chunk`. A training step is counted in float32, with Adam. Megalodon is
    counted where it is largest, just before a chunk is full.
    """

    script = "calculator.js"
    quantity = Choice(WRITING, QUANTITIES)
    context = Range(32_768, LEAST_CONTEXT, MOST_CONTEXT, whole=True)
    model = Choice("7.3B", list(PRESETS))
    precision = Choice("bfloat16 (2 bytes)", list(PRECISIONS))
    queries_per_key = Choice(1, (1, 2, 4, 8))
    batch = Choice(1, (1, 2, 4, 8, 16, 32, 64))
    chunk = Choice("of the preset", list(CHUNKS))

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {
            "points": POINTS,
            "head_width": HEAD_WIDTH,
            "scan": cost_model.SCAN,
            "models": {name: asdict(MegalodonConfig.preset(name)) for name in PRESETS},
            "precisions": PRECISIONS,
            "chunks": CHUNKS,
            "gpus": GPUS,
        }

    def configs(self) -> dict[str, ModelConfig]:
        """The two models: "transformer" and "megalodon"."""
        transformer, megalodon = _pair(self.model, self.queries_per_key, CHUNKS[self.chunk])
        return {"transformer": transformer, "megalodon": megalodon}

    def costs(self, config: ModelConfig, context: int) -> dict[str, float]:
        """Every cost of one model at one context: bytes and FLOPs of the whole batch."""
        bytes_each = PRECISIONS[self.precision]
        parameters = cost_model.parameters(config)
        state = cost_model.most_state_bytes(config, context, self.batch, bytes_each)
        behind = min(context, config.chunk_size - 1) if isinstance(config, MegalodonConfig) else context
        costs = {
            "parameters": parameters,
            "weights": parameters * bytes_each,
            "state": state,
            WRITING: parameters * bytes_each + state,
            NEXT: self.batch * cost_model.next_token_flops(config, behind).total,
            READING: self.batch * cost_model.forward_flops(config, context).total,
            TRAINING: cost_model.training_bytes(config, context, self.batch),
        }
        return {name: float(value) for name, value in costs.items()}

    @property
    def _place(self) -> int:
        """Where `costs` has what is drawn: behind parameters, weights and state."""
        return 3 + QUANTITIES.index(self.quantity)

    def values(self) -> Values:
        """What is drawn over the whole range of contexts, every cost at `context`, and what a GPU's memory allows.

        Costs are in billions: whole numbers of FLOPs outgrow 64 bits.
        """
        share = np.arange(POINTS) / (POINTS - 1)
        contexts = np.rint(LEAST_CONTEXT * (MOST_CONTEXT / LEAST_CONTEXT) ** share).astype(int)
        configs = self.configs()
        drawn = {
            name: np.array([self.costs(config, int(context))[self.quantity] for context in contexts]) / BILLION
            for name, config in configs.items()
        }
        here = {
            name: np.array(list(self.costs(config, self.context).values())) / BILLION
            for name, config in configs.items()
        }
        per_token = cost_model.state_bytes_after(configs["transformer"], 1, self.batch, PRECISIONS[self.precision])
        weights = self.costs(configs["transformer"], 1)["weights"]
        room = np.maximum(np.array(list(GPUS.values())) - weights, 0)
        most = self.costs(configs["megalodon"], MOST_CONTEXT)[WRITING]
        dearer = (drawn["transformer"] > drawn["megalodon"]).tolist()
        return {
            "contexts": contexts,
            **drawn,
            "here_transformer": here["transformer"],
            "here_megalodon": here["megalodon"],
            "walls": np.floor(room / per_token),
            "fits": np.array([float(most <= size) for size in GPUS.values()]),
            "crossing": np.array([cost_model.first_context(dearer, contexts.tolist()) or 0]),
        }

    @style.styled
    def figure(self) -> Figure:
        """The chosen quantity of both models against the context, on logarithmic axes."""
        values = self.values()
        figure, axes = style.figure(width=8, height=4)
        if "memory" in self.quantity:
            for name, size in GPUS.items():
                axes.axhline(size, color=style.GREY, linestyle=":", linewidth=1.2)
                style.label_line(axes, LEAST_CONTEXT, size, f"{name} GPU", style.GREY, xytext=(2, 3))
        for name, colour in (("transformer", style.TRANSFORMER), ("megalodon", style.MEGALODON)):
            costs = values[name] * BILLION
            axes.plot(values["contexts"], costs, color=colour, linewidth=2.5)
            at = {"xytext": (-28, 2) if name == "transformer" else (-4, -14), "ha": "right"}
            style.label_line(axes, MOST_CONTEXT, costs[-1], name.capitalize(), colour, **at)
            axes.plot([self.context], [values[f"here_{name}"][self._place] * BILLION], "o", color=colour)
        unit = "B" if "memory" in self.quantity else "FLOP"
        axes.set(xscale="log", yscale="log", xlabel="context, tokens", ylabel=self.quantity)
        axes.set(xlim=(LEAST_CONTEXT, MOST_CONTEXT), title=f"{self.model}, {self.precision}, batch {self.batch}")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(EngFormatter(unit=unit))
        axes.minorticks_off()
        return figure

    def description(self) -> str:
        """The picture in words."""
        values = self.values()
        transformer, megalodon = (values[f"here_{name}"][self._place] for name in ("transformer", "megalodon"))
        crossing = int(values["crossing"][0])
        dearer = (
            f"The Transformer takes more from about {crossing:,} tokens on." if crossing else "Megalodon takes more."
        )
        return (
            f"A calculator for models of the preset {self.model}: {self.quantity} against context, on logarithmic "
            f"axes. At {self.context:,} tokens the Transformer takes {transformer:.3g} and Megalodon {megalodon:.3g} "
            f"billion {'bytes' if 'memory' in self.quantity else 'FLOPs'}. {dearer}"
        )


@cache
def _pair(model: str, queries_per_key: int, chunk: int | None) -> tuple[TransformerConfig, MegalodonConfig]:
    config = MegalodonConfig.preset(model)
    heads = config.model_dim // HEAD_WIDTH
    transformer = match_transformer(config, num_heads=heads, kv_heads=max(1, heads // queries_per_key))
    return transformer, config if chunk is None else replace(config, chunk_size=chunk)
