"""The streaming-state explorer: what is kept while a text is written, token by token and part by part."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.explorers.controls import Choice, Range
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.models import MegalodonConfig, match_transformer, megalodon_state_bytes, transformer_state_bytes
from megalodon_edu.plots import assembled as plots
from megalodon_edu.recordings import recording

LONGEST = 16_384
PRESETS = ("tiny", "small", "200M", "1.3B", "7.3B")
PRECISIONS = {"float32 (4 bytes)": 4, "bfloat16 (2 bytes)": 2}
PARTS = ("keys", "values", "CEMA", "norm")


class StreamingStateExplorer(Explorer):
    """Bytes of Megalodon's state and of a Transformer's cache after every token, and what one layer's state holds.

    Controls: `tokens` written so far, `model`, `precision` of keys and values, and `chunk_size`. The Transformer has
    the same depth, width and number of parameters, and a key head for each query head.
    """

    script = "streaming_state.js"
    tokens = Range(1300, 0, LONGEST, whole=True)
    model = Choice("bookworm", ("bookworm", *PRESETS))
    precision = Choice("float32 (4 bytes)", list(PRECISIONS))
    chunk_size = Choice(512, (128, 512, 1024, 2048, 4096))

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        sizes = ("num_layers", "model_dim", "z_dim", "value_dim", "cema_ndim", "norm_num_groups")
        return {
            "longest": LONGEST,
            "models": {name: {size: getattr(_config(name), size) for size in sizes} for name in ("bookworm", *PRESETS)},
            "precisions": PRECISIONS,
        }

    @property
    def config(self) -> MegalodonConfig:
        """The model with the chosen chunk."""
        return replace(_config(self.model), chunk_size=self.chunk_size)

    @property
    def edge(self) -> int:
        """The token at which the open chunk began."""
        return self.tokens - self.tokens % self.chunk_size

    def axis(self) -> list[int]:
        """The ends of every tooth: in each chunk 0 and C - 1 tokens, up to the longest text."""
        edges = range(0, LONGEST, self.chunk_size)
        return [count for edge in edges for count in (edge, edge + self.chunk_size - 1)]

    def window(self) -> list[int]:
        """Token counts around `tokens`: of the chunk before, the open one and the next, 0, 1, 2, 4, ... and C - 1."""
        inside = sorted({0, self.chunk_size - 1, *(2**power for power in range(self.chunk_size.bit_length() - 1))})
        edges = (self.edge - self.chunk_size, self.edge, self.edge + self.chunk_size)
        return [edge + place for edge in edges if edge >= 0 for place in inside]

    def layer(self, tokens: int) -> dict[str, int]:
        """Bytes of each part of one layer's state: keys and values of the open chunk, CEMA's h, the norm's n, m, v."""
        config, number = self.config, PRECISIONS[self.precision]
        held = tokens % config.chunk_size
        sizes = (
            held * config.z_dim * number,
            held * config.value_dim * number,
            config.model_dim * config.cema_ndim * 8,
            8 + 2 * config.norm_num_groups * 4,
        )
        return dict(zip(PARTS, sizes, strict=True))

    def state_bytes(self, tokens: int) -> int:
        """The whole model's state."""
        return megalodon_state_bytes(self.config, tokens, activation_bytes=PRECISIONS[self.precision])

    def cache_bytes(self, tokens: int) -> int:
        """The Transformer's cache."""
        return transformer_state_bytes(_rival(self.model), tokens, activation_bytes=PRECISIONS[self.precision])

    def values(self) -> Values:
        """State and cache along `axis`; one layer's parts along `window`; all at `tokens`; what crosses an edge."""
        axis, window = self.axis(), self.window()
        layers = [self.layer(tokens) for tokens in window]
        here = [self.state_bytes(self.tokens), self.cache_bytes(self.tokens), *self.layer(self.tokens).values()]
        return {
            "axis": np.array(axis),
            "state": np.array([self.state_bytes(tokens) for tokens in axis]),
            "cache": np.array([self.cache_bytes(tokens) for tokens in axis]),
            "window": np.array(window),
            **{name: np.array([parts[name] for parts in layers]) for name in PARTS},
            "here": np.array(here),
            "handed_on": np.array([self.state_bytes(0)]),
        }

    def figure(self) -> Figure:
        """Both sizes along the text, and the parts of one layer."""
        values = self.values()
        lines = {"Megalodon: state": values["state"], "Transformer: KV cache": values["cache"]}
        parts = {name: values[name] for name in PARTS}
        here = self.tokens, values["here"]
        return plots.state_over_time(values["axis"], lines, values["window"], parts, here, self.chunk_size)

    def description(self) -> str:
        """The picture in words."""
        state, cache, *parts = self.values()["here"]
        listed = ", ".join(f"{name} {size:,}" for name, size in zip(PARTS, parts, strict=True))
        return (
            f"Left, bytes kept by a {self.model} model against tokens written. The Transformer's cache is a straight "
            f"line; Megalodon's state is a saw-tooth that falls back to {self.state_bytes(0):,} bytes every "
            f"{self.chunk_size:,} tokens. At {self.tokens:,} tokens they are {cache:,} and {state:,} bytes. Right, the "
            f"parts of one layer's state on a logarithmic scale, around that token, in bytes: {listed}."
        )


@cache
def _config(model: str) -> MegalodonConfig:
    if model in PRESETS:
        return MegalodonConfig.preset(model)
    return MegalodonConfig.from_dict(recording(model).about["config"])


@cache
def _rival(model: str) -> Any:
    return match_transformer(_config(model))
