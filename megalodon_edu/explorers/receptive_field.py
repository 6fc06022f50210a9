"""The receptive-field explorer: chunk size and memory decide what a token can see, and how it fades."""

from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from megalodon_edu.explorers.controls import Range, Switch
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.measure.receptive_field import receptive_field
from megalodon_edu.ops.attention import chunked_attention
from megalodon_edu.ops.ema import ema_chunked
from megalodon_edu.plots import gated_attention as plots
from megalodon_edu.plots import style

TIME = 48
FAINTEST = 1e-3  # of the strongest influence; the picture shows nothing fainter
PATHS = {"attention": style.BLUE, "memory": style.ORANGE, "statistics": style.GREEN}


class ReceptiveFieldExplorer(Explorer):
    """A layer reduced to its wiring: y = ½ (memory + attention), both fed with x minus its running mean.

    The memory is an average with the given half-life, attention weighs what it sees in its chunk equally. A path that
    is shut hands on its own token alone. Controls: `chunk_size`, `half_life`, `token` (the output that is looked at),
    and the switches `attention`, `memory`, `statistics`.
    """

    script = "receptive_field.js"
    chunk_size = Range(12, 1, TIME, whole=True)
    half_life = Range(4, 0.5, 64)
    token = Range(26, 0, TIME - 1, whole=True)
    attention = Switch(True)
    memory = Switch(True)
    statistics = Switch(True)

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {"time": TIME, "faintest": FAINTEST}

    @property
    def edge(self) -> int:
        """The first token of the chunk that `token` stands in."""
        return self.token - self.token % self.chunk_size

    def values(self) -> Values:
        """The influence of each input on each output, by the microscope; the row of `token`, for all open paths
        together (`row`) and for each alone; and the share of the row that comes from before the chunk's edge.
        """
        opened = {name: getattr(self, name) for name in PATHS}
        field = self._field(**opened)
        row = field[self.token]
        alone = {
            name: self._field(**{other: other == name and opened[name] for other in PATHS})[self.token]
            for name in PATHS
        }
        share = row[: self.edge].sum() / row.sum() if row.any() else 0.0
        return {"field": field, "row": row, **alone, "share": np.array([share])}

    def _field(self, attention: bool, memory: bool, statistics: bool) -> np.ndarray:
        alpha = torch.tensor([-np.expm1(-np.log(2) / self.half_life)], dtype=torch.float64)
        same = torch.zeros(TIME, TIME, 1, 1, dtype=torch.float64)  # equal queries and keys: equal weights
        seen = torch.arange(1, TIME + 1)[:, None]

        def layer(x: Tensor) -> Tensor:
            normal = x - x.cumsum(1) / seen if statistics else x
            averaged = ema_chunked(normal, alpha)[0] if memory else normal
            if not attention:
                return (averaged + normal) / 2
            attended, _ = chunked_attention(same, same, normal[..., None], self.chunk_size)
            return (averaged + attended[..., 0]) / 2

        return receptive_field(layer, torch.zeros(TIME, 1, dtype=torch.float64)).numpy()

    @style.styled
    def figure(self) -> Figure:
        """The field, and the row of the chosen token."""
        values = self.values()
        figure, (left, right) = style.figure(1, 2, width=9, height=3.8, width_ratios=[1, 1.3])
        plots.draw_field(left, torch.as_tensor(values["field"]), self.chunk_size, FAINTEST)
        around = np.array([-0.5, TIME - 0.5])
        for line in (-0.5, 0.5):
            left.plot(around, [self.token + line] * 2, color=style.BLACK, linewidth=1)
        left.set(title="Who sees whom", xlabel="input s", ylabel="output t")
        for name, color in {**PATHS, "row": style.BLACK}.items():
            shown = np.flatnonzero(values[name] >= FAINTEST / 10)
            if name == "row" or getattr(self, name):
                label = "all together" if name == "row" else f"{name} alone"
                width, size = (2.2, 4) if name == "row" else (1.2, 3)
                right.plot(shown, values[name][shown], "o-", color=color, linewidth=width, markersize=size, label=label)
        right.axvline(self.edge - 0.5, color=style.VERMILION, linestyle="--", linewidth=1.2)
        right.set(title=f"What reaches output {self.token}", xlabel="input s", ylabel="influence")
        right.set(yscale="log", ylim=(FAINTEST / 10, 1.5), xlim=(-1, TIME))
        right.legend(loc="upper right")
        return figure

    def description(self) -> str:
        """The picture in words."""
        opened = [name for name in PATHS if getattr(self, name)] or ["nothing"]
        return (
            f"Left, a heat map of {TIME} outputs by {TIME} inputs with chunks of {self.chunk_size} and a memory with a "
            f"half-life of {self.half_life:.3g} steps; open: {', '.join(opened)}. Right, what reaches output "
            f"{self.token}, whose chunk begins at {self.edge}: {100 * self.values()['share'].item():.0f} percent of "
            "it comes from before that edge."
        )
