"""Figures of chapter 06: arrows and their directions, logits that grow in training, weights, and entropy by width."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from megalodon_edu.measure.attention_logits import attention_entropy
from megalodon_edu.measure.logit_growth import Look, read_looks
from megalodon_edu.plots import gallery, style
from megalodon_edu.recordings import recording

WITHOUT, WITH = style.VERMILION, style.BLUE


@style.styled
def arrows(tokens: str, z: Float[Tensor, "token feature"]) -> Figure:
    """The z of each token as an arrow with two features, as they are and brought to the length 1."""
    figure, (left, right) = style.figure(columns=2, width=7.5, height=3.4)
    for axes, vectors, title in ((left, z, "z, as it comes"), (right, z / z.norm(dim=1, keepdim=True), "z / ‖z‖")):
        zero = torch.zeros(len(vectors))
        axes.quiver(zero, zero, *vectors.T, color=style.BLUE, angles="xy", scale_units="xy", scale=1, width=0.009)
        names: dict[tuple[float, float], str] = {}
        for token, vector in zip(tokens, vectors.tolist(), strict=True):
            place = (round(vector[0], 6), round(vector[1], 6))
            names[place] = f"{names[place]}, {token}" if place in names else token
        for (a, b), name in names.items():
            style.label_line(axes, a, b, name, style.BLACK, xytext=(8, 0 if a == 0 else -8), fontsize=11, va="center")
        (left_end, low), (right_end, high) = (vectors.amin(0).tolist(), vectors.amax(0).tolist())
        room = 0.25 * float(vectors.abs().max())
        axes.set(xlim=(min(0, left_end) - room, right_end + 1.5 * room), ylim=(low - room, high + room))
        axes.set(aspect="equal", title=title)
        axes.set(xlabel="first feature", ylabel="second feature")
    right.add_patch(Circle((0, 0), 1, fill=False, color=style.GREY, linestyle=":"))
    return figure


@style.styled
def weights_of_tokens(tokens: str, weights: Mapping[str, Float[Tensor, "query key"]]) -> Figure:
    """One square of attention weights for each name, a shade and a number in every cell that is not the future."""
    figure, panels = style.figure(columns=len(weights), width=3.7 * len(weights), height=3.6)
    places = range(len(tokens))
    for axes, (name, table) in zip([panels] if len(weights) == 1 else panels, weights.items(), strict=True):
        axes.imshow(
            table.masked_fill(torch.ones_like(table).triu(1).bool(), math.nan).numpy(), cmap="Blues", vmin=0, vmax=1
        )
        for query in places:
            for key in range(query + 1):
                share = float(table[query, key])
                color = "white" if share > 0.6 else "black"
                axes.text(key, query, f"{share:.2f}", ha="center", va="center", fontsize=8, color=color)
        axes.set_xticks(places, list(tokens))
        axes.set_yticks(places, list(tokens))
        axes.grid(visible=False)
        axes.set(xlabel="key: whom it looks at", ylabel="query: who looks", title=name)
    return figure


@style.styled
def growth(looks: Sequence[Look], title: str = "") -> Figure:
    """The largest |logit| and the entropy against the step, the layer that is worst in each; both variants.

    The looks are those of one learning rate. Raises ValueError if a variant is missing.
    """
    figure, (top, bottom) = style.figure(columns=2, width=8.0, height=3.2)
    for normalize_z, color, name in ((False, WITHOUT, "without the norm"), (True, WITH, "with the norm")):
        own = [look for look in looks if look.normalize_z is normalize_z]
        if not own:
            raise ValueError(f"looks must hold both variants, got none with normalize_z={normalize_z}")
        steps = sorted({look.step for look in own})
        largest = [max(look.largest_logit for look in own if look.step == step) for step in steps]
        entropy = [min(look.entropy for look in own if look.step == step) for step in steps]
        for axes, values in ((top, largest), (bottom, entropy)):
            axes.plot(steps, values, color=color)
            style.label_line(axes, steps[-1], values[-1], name, color, xytext=(0, 7), ha="right")
    top.axhline(1, color=style.GREY, linewidth=1, linestyle=":")
    top.set(yscale="log", ylabel="largest |logit|", xlabel="step", title=title)
    low, high = top.get_ylim()
    top.set_ylim(low, 2 * high)  # room for a label
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000) if low <= tick <= 2 * high]
    top.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    top.minorticks_off()
    bottom.set(ylim=(0, 1.1), ylabel="entropy / ln n", xlabel="step")
    return figure


def recorded_growth(learning_rate: float) -> list[Look]:
    """The looks of the recording `logit_growth` at one of its learning rates.

    Raises ValueError for a rate that was not recorded.
    """
    looks = read_looks(recording("logit_growth").folder / "looks.csv")
    rates = sorted({look.learning_rate for look in looks})
    if learning_rate not in rates:
        raise ValueError(f"learning_rate must be one of {', '.join(map(str, rates))}, got {learning_rate}")
    return [look for look in looks if look.learning_rate == learning_rate]


@gallery.kept(
    "logit_growth",
    alt="Two panels against the training step. The largest attention logit, on a logarithmic axis, climbs from 5 to "
    "about 50 without the norm, and from 1 to about 9 with it. The entropy of attention falls to a tenth of its most "
    "without the norm, and to a half with it.",
)
def recorded_logits() -> Figure:
    """The recorded runs at the preset's own learning rate."""
    return growth(recorded_growth(0.004), "recorded, learning rate 0.004")


def schemes(z: Float[Tensor, "batch token key"]) -> dict[str, Float[Tensor, "batch token token"]]:
    """The logits of q = k made of z in four ways: Megalodon's, its two scale bugs, and no norm at all."""
    width = z.shape[-1]
    unit = z / z.norm(dim=-1, keepdim=True)
    cosines = unit @ unit.mT
    return {
        "length 1, then 1/√d again": cosines / math.sqrt(width),
        "length 1 (Megalodon)": cosines,
        "no norm, logits / √d": z @ z.mT / math.sqrt(width),
        "RMS norm, 1/√d forgotten": cosines * width,
    }


@gallery.kept(
    "entropy_at_the_start",
    alt="Mean entropy of attention among 64 random tokens against the width of z from 2 to 256. With z of length 1 it "
    "stays near 1 at every width, and so it does when 1/√d is applied again. Without a norm it falls from 0.9 to 0 "
    "between width 2 and width 256, and with the RMS norm alone it is at 0 from width 16 on.",
)
def entropy_at_the_start() -> Figure:
    """Random z with features of size 1, no training."""
    widths = [2, 4, 8, 16, 32, 64, 128, 256]
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20, 64, max(widths), generator=generator, dtype=torch.float64)
    found: dict[str, list[float]] = {}
    for width in widths:
        for name, logits in schemes(z[..., :width]).items():
            found.setdefault(name, []).append(attention_entropy(logits)[:, 1:].mean().item())
    return entropy_by_width(widths, found)


@style.styled
def entropy_by_width(widths: Sequence[int], entropies: Mapping[str, Sequence[float]]) -> Figure:
    """Entropy as a share of ln n against the width of z, one line for each name."""
    figure, axes = style.figure(height=3.2)
    looks = ((style.GREY, "--", "s"), (WITH, "-", "o"), (WITHOUT, "-", "o"), (style.ORANGE, "--", "s"))
    for (name, values), (color, dash, marker) in zip(entropies.items(), looks, strict=False):
        axes.plot(widths, values, color=color, linestyle=dash, marker=marker, markersize=4, label=name)
    axes.set(xscale="log", xlabel="width d of z", ylabel="entropy / ln n", ylim=(-0.03, 1.08))
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
