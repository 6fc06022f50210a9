"""A bar for each whole, cut into the shares of its parts."""

from collections.abc import Collection, Mapping

from matplotlib.axes import Axes

from megalodon_edu.plots import style


@style.styled
def share_bars(
    axes: Axes, wholes: Mapping[str, Mapping[str, float]], colours: Mapping[str, str], dark: Collection[str], of: str
) -> None:
    """Draw the bars, the first on top; shares of at least 5 % are written into them, in white on parts in `dark`.

    The parts of the first bar are labelled for a legend. `of` ends the words "share of".
    """
    for row, parts in enumerate(wholes.values()):
        total, left = sum(parts.values()), 0.0
        for name, size in parts.items():
            share = 100 * size / total
            label = name if row == 0 else None
            axes.barh(row, share, left=left, height=0.68, color=colours[name], label=label)
            if share >= 5:
                colour = "white" if name in dark else "black"
                axes.text(left + share / 2, row, f"{share:.0f} %", ha="center", va="center", fontsize=9, color=colour)
            left += share
    axes.set(yticks=range(len(wholes)), yticklabels=list(wholes), ylim=(len(wholes) - 0.5, -0.5), xlim=(0, 100))
    axes.set(xlabel=f"share of {of}, %")
    axes.grid(visible=False)
