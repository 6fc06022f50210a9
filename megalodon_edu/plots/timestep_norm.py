"""Figures of chapter 04: which cells share statistics, running statistics, a leak by position, a parallel scan."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from megalodon_edu.ops.timestep_norm import timestep_norm_reference
from megalodon_edu.plots import gallery, style

Cells = Bool[Tensor, "batch time channel"]
Place = tuple[int, int, int]
PAST, FUTURE, UNUSED = style.SKY, style.VERMILION, "#F2F2F2"


def cells_that_matter(norm: Callable[[Tensor], Tensor], shape: Place, place: Place) -> Cells:
    """Which cells of x, (batch, time, channel), move the norm's output at one place: those with a gradient.

    Measured at a random x, so that no gradient is zero by accident.
    """
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(norm(x)[place], x)
    return gradient.abs() > 1e-12


@style.styled
def shared_cells(maps: Mapping[str, Cells], place: Place, columns: int = 3) -> Figure:
    """One panel per norm: a row of cells per sequence and channel, a column per token.

    Coloured cells share the statistics of the outlined one; those of later tokens are hatched.
    """
    rows = -(-len(maps) // columns)
    figure, panels = style.figure(rows, columns, width=6.6, height=2.3 * rows + 0.2, squeeze=False)
    for axes in panels.flat[len(maps) :]:
        axes.set_visible(False)
    for axes, (name, cells) in zip(panels.flat, maps.items(), strict=False):
        _draw_cells(axes, cells, place)
        axes.set_title(name, fontsize=9.5)
    return figure


def _draw_cells(axes: Axes, cells: Cells, place: Place) -> None:
    batch, time, channel = cells.shape
    for b in range(batch):
        top = b * (channel + 1)
        for t in range(time):
            for c in range(channel):
                shared, future = bool(cells[b, t, c]), t > place[1]
                color = UNUSED if not shared else FUTURE if future else PAST
                hatch = "////" if shared and future else None
                cell = Rectangle((t, top + c), 1, 1, facecolor=color, hatch=hatch, edgecolor="white", linewidth=1.2)
                axes.add_patch(cell)
    b, t, c = place
    axes.add_patch(Rectangle((t, b * (channel + 1) + c), 1, 1, fill=False, edgecolor=style.BLACK, linewidth=2.2))
    axes.set(xlim=(-0.2, time + 0.2), ylim=(batch * (channel + 1) - 0.8, -0.2), aspect="equal")
    axes.set_xticks([t + 0.5 for t in range(time)], [str(t) for t in range(time)], fontsize=8)
    axes.set_yticks([b * (channel + 1) + channel / 2 for b in range(batch)], [f"text {b + 1}" for b in range(batch)])
    axes.set_xlabel("token t", fontsize=8.5)
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


@gallery.kept(
    "shared_statistics",
    alt="Six grids of cells, two texts of six tokens with four features each; one cell at token 3 is outlined and the "
    "cells that share its statistics are coloured. Batch norm: one feature of all tokens and texts, later tokens "
    "too. Layer norm: one token. Group norm of one token: half a token. Instance norm: one feature of one text, later "
    "tokens too. Group norm of a text: half the features of all its tokens. Timestep Norm: the same half, of "
    "tokens 0 to 3 only.",
)
def shared_statistics() -> Figure:
    """The six norms of chapter 04 on two texts of six tokens with four features."""
    shape, place = (2, 6, 4), (0, 3, 1)
    return shared_cells({name: cells_that_matter(norm, shape, place) for name, norm in six_norms().items()}, place)


def six_norms(groups: int = 2) -> dict[str, Callable[[Tensor], Tensor]]:
    """Norms of x (batch, time, channel) by name, without gain and bias."""

    def zeros(x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[2])

    return {
        "batch norm": lambda x: F.batch_norm(x.mT, None, None, training=True).mT,
        "layer norm": lambda x: F.layer_norm(x, x.shape[2:]),
        "group norm, token": lambda x: F.group_norm(x.flatten(0, 1), groups).view(x.shape),
        "instance norm": lambda x: F.instance_norm(x.mT).mT,
        "group norm, text": lambda x: F.group_norm(x.mT, groups).mT,
        "Timestep Norm": lambda x: timestep_norm_reference(x, zeros(x), zeros(x), groups)[0],
    }


@style.styled
def running_statistics(
    tokens: str,
    features: Float[Tensor, "time feature"],
    mean: Float[Tensor, " time"],
    deviation: Float[Tensor, " time"],
) -> Figure:
    """The features of each token as dots, the mean of all so far as a line, one standard deviation as a band."""
    figure, axes = style.figure(height=2.9)
    steps = list(range(len(tokens)))
    low, high = (mean - deviation).tolist(), (mean + deviation).tolist()
    axes.fill_between(steps, low, high, color=style.MEMORY, alpha=0.15, linewidth=0)
    axes.plot(steps, mean.tolist(), color=style.MEMORY, marker="o", markersize=4)
    for feature, (marker, shift) in zip(features.T, (("s", -0.06), ("D", 0.06)), strict=True):
        axes.plot([step + shift for step in steps], feature.tolist(), marker, color=style.INPUT, markersize=6)
    style.label_line(axes, steps[-1], high[-1], "mean ± one deviation", style.MEMORY, ha="right", xytext=(0, 8))
    style.label_line(axes, 0, float(features[0, 0]), "the two features", style.INPUT, xytext=(9, -13))
    axes.set_xticks(steps, [f'"{token}"\nt = {step}' for step, token in enumerate(tokens)])
    axes.set(ylabel="value")
    return figure


@style.styled
def over_time(
    series: Mapping[str, Float[Tensor, " time"]], ylabel: str, title: str, logarithmic: bool = False, first: int = 0
) -> Figure:
    """Lines over tokens, told apart by colour and dash, with a legend beside them. `first` is the first token's
    number.
    """
    figure, axes = style.figure(width=7.6, height=2.9)
    looks = ((style.BLUE, "-"), (style.VERMILION, "--"), (style.GREEN, "-."), (style.PINK, ":"))
    for (name, values), (color, line) in zip(series.items(), looks, strict=False):
        steps = range(first, first + len(values))
        axes.plot(steps, values.detach().numpy(), color=color, linestyle=line, label=name)
    axes.set(xlabel="token t", ylabel=ylabel, title=title)
    if logarithmic:
        axes.set(xscale="log", yscale="log", xlabel="tokens seen, n")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def loss_by_position(losses: Mapping[str, Float[Tensor, " time"]]) -> Figure:
    """The loss at every place of a window, one line per model and way of measuring."""
    figure, axes = style.figure(width=7.6, height=3.0)
    looks = ((style.VERMILION, "-"), (style.VERMILION, ":"), (style.BLUE, "-"))
    for (name, loss), (color, line) in zip(losses.items(), looks, strict=False):
        places = range(1, len(loss) + 1)
        axes.plot(places, loss.detach().numpy(), color=color, linestyle=line, marker="o", markersize=3, label=name)
    axes.set(xlabel="characters read of the window", ylabel="loss (nats per character)", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def scan(length: int) -> Figure:
    """Hillis and Steele's scan: what each entry covers after each round, and the merge that made it."""
    spans = [[(t, t) for t in range(length)]]
    reach = 1
    while reach < length:
        before = spans[-1]
        spans.append([(before[max(0, t - reach)][0] if t >= reach else before[t][0], t) for t in range(length)])
        reach *= 2
    figure, axes = style.figure(height=0.75 * len(spans) + 0.7)
    for row, entries in enumerate(spans):
        for t, (start, end) in enumerate(entries):
            done = start == 0
            text = str(end) if start == end else f"{start}–{end}"
            box = {"boxstyle": "round,pad=0.3", "facecolor": style.SKY if done else UNUSED, "edgecolor": "none"}
            axes.text(t, -row, text, ha="center", va="center", bbox=box, fontsize=9, zorder=3)
            step = 2 ** (row - 1)
            if row and t >= step:
                for source in (t - step, t):
                    axes.plot([source, t], [1 - row, -row], color=style.GREY, linewidth=1, zorder=1)
    names = ["tokens", *(f"round {row}" for row in range(1, len(spans)))]
    axes.set_yticks([-row for row in range(len(spans))], names)
    axes.set(xlim=(-0.6, length - 0.4), ylim=(0.6 - len(spans), 0.4))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


@style.styled
def drifting(
    x: Float[Tensor, "time feature"], outputs: Mapping[str, Float[Tensor, "time feature"]], colors: Sequence[str] = ()
) -> Figure:
    """A signal of several features and, below, what norms make of it: features thin and grey, their mean thick."""
    rows = {"the signal x": x, **outputs}
    colors = (style.BLACK, *(colors or style.MODES))
    figure, panels = style.figure(len(rows), 1, width=7.4, height=1.25 * len(rows) + 0.4, sharex=True)
    for axes, (name, values), color in zip(panels, rows.items(), colors, strict=False):
        axes.plot(values.numpy(), color=style.GREY, linewidth=0.5, alpha=0.5)
        axes.plot(values.mean(1).numpy(), color=color, linewidth=2)
        axes.axhline(0, color=style.GREY, linewidth=0.8)
        axes.set_title(name, fontsize=9.5, pad=4)
    panels[-1].set_xlabel("token t")
    return figure
