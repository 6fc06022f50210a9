"""The tile stepper: which program of a launch touches which addresses, lane by lane."""

from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from megalodon_edu.explorers.controls import Choice, Range
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.plots import first_kernels as plots
from megalodon_edu.plots import style

SECTOR = 32
BLOCKS = (2, 4, 8, 16, 32)
ORDERS = ("along a row", "down a column", "straight through")
MOST_ROWS, MOST_COLUMNS, MOST_GAP = 8, 16, 8
MOST_PROGRAMS = MOST_ROWS * MOST_COLUMNS // BLOCKS[0]


class TileStepperExplorer(Explorer):
    """A matrix in memory, row after row, and programs that take `block` of its numbers each.

    Row r, column c stands at place r · (columns + gap) + c. A program takes numbers along a row, down a column, or
    straight through all rows as if they were one. Lanes without a number are masked. Controls: `rows`, `columns`,
    `gap`, `block`, `order`, `size` (bytes of a number) and `program` (the last one where it says more).
    """

    script = "tile_stepper.js"
    rows = Range(6, 1, MOST_ROWS, whole=True)
    columns = Range(13, 1, MOST_COLUMNS, whole=True)
    gap = Range(3, 0, MOST_GAP, whole=True)
    block = Choice(8, BLOCKS)
    order = Choice(ORDERS[0], ORDERS)
    size = Choice(4, (2, 4))
    program = Range(1, 0, MOST_PROGRAMS - 1, whole=True)

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {"line": plots.LINE, "sector": SECTOR}

    def lanes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of every lane of every program (program, lane), and which of them exist."""
        lane = np.arange(self.block)
        if self.order == ORDERS[2]:
            count = self.rows * self.columns
            index = np.arange(-(-count // self.block))[:, None] * self.block + lane
            return index // self.columns, index % self.columns, index < count
        outer, inner = (self.rows, self.columns) if self.order == ORDERS[0] else (self.columns, self.rows)
        pieces = -(-inner // self.block)
        program = np.arange(outer * pieces)
        first = (program // pieces)[:, None] + 0 * lane
        second = (program % pieces)[:, None] * self.block + lane
        exists = second < inner
        return (first, second, exists) if self.order == ORDERS[0] else (second, first, exists)

    def values(self) -> Values:
        """The places of the shown program's lanes and which exist; lanes, bytes and sectors of every program.

        `here` and `all`: lanes, masked lanes, bytes asked for, sectors, of the shown program and of the whole launch.
        """
        row, column, exists = self.lanes()
        places = row * (self.columns + self.gap) + column
        live = exists.sum(1)
        sectors = np.array(
            [len(np.unique(at[some] * self.size // SECTOR)) for at, some in zip(places, exists, strict=True)]
        )
        counts = np.stack([np.full_like(live, self.block), self.block - live, live * self.size, sectors], 1)
        shown = min(self.program, len(places) - 1)
        return {
            "places": places[shown],
            "exists": exists[shown].astype(float),
            "sectors": sectors,
            "here": counts[shown],
            "all": counts.sum(0),
        }

    @style.styled
    def figure(self) -> Figure:
        """The matrix, and the memory it lies in."""
        row, column, exists = self.lanes()
        values = self.values()
        shown = min(self.program, len(row) - 1)
        figure, (left, right) = style.figure(1, 2, width=9.5, height=3.6, width_ratios=[1, 1.7])
        for r in range(self.rows):
            for c in range(self.columns):
                left.add_patch(Rectangle((c - 0.42, r - 0.42), 0.84, 0.84, facecolor=style.SKY, alpha=0.35))
        for r, c, some in zip(row[shown], column[shown], exists[shown], strict=True):
            if some:
                left.add_patch(Rectangle((c - 0.42, r - 0.42), 0.84, 0.84, facecolor=style.BLUE))
            else:
                left.plot([c], [r], "x", color=style.VERMILION, markersize=6)
        wide, high = max(self.columns, int(column[shown].max()) + 1), max(self.rows, int(row[shown].max()) + 1)
        left.set(xlim=(-0.7, wide - 0.3), ylim=(high - 0.3, -0.7), xlabel="column", ylabel="row")
        left.set(title=f"Program {shown}, of 0 to {len(row) - 1}")
        left.set_xticks(range(0, wide, 4))
        left.grid(False)
        stride = self.columns + self.gap
        valid = {r * stride + c for r in range(self.rows) for c in range(self.columns)}
        here = values["places"]
        some = values["exists"].astype(bool)
        most = max(*valid, *here.tolist()) + 1
        plots.draw_memory(right, valid, here[some].tolist(), here[~some].tolist(), SECTOR // self.size, most)
        touched = values["here"][3]
        plural = "" if touched == 1 else "s"
        right.set(title=f"In memory: {touched} sector{plural} touched (×: masked)", ylabel="place of the line")
        return figure

    def description(self) -> str:
        """The picture in words."""
        values = self.values()
        lanes, masked, asked, sectors = values["here"].tolist()
        last = len(values["sectors"]) - 1
        plural = "" if sectors == 1 else "s"
        return (
            f"Left, a matrix of {self.rows} rows and {self.columns} columns with the {lanes} lanes of program "
            f"{min(self.program, last)}, of 0 to {last}, which goes {self.order}; {masked} of them are masked. "
            f"Right, the same in memory, where rows begin {self.columns + self.gap} places apart: the program asks for "
            f"{asked} bytes and touches {sectors} sector{plural} of {SECTOR} bytes."
        )
