"""The map of the course: which chapter stands on which."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from megalodon_edu.plots import gallery, style


class Chapter(NamedTuple):
    """A chapter, the chapters it needs, and its place on the map: column from the left, row from the top."""

    title: str
    needs: tuple[str, ...]
    column: float
    row: float


CHAPTERS = {
    "00": Chapter("the memory wall", (), 0, 0),
    "01": Chapter("exponential\nmoving averages", (), 0, 1),
    "02": Chapter("damped, multi-\ndimensional EMA", ("01",), 1, 1),
    "03": Chapter("complex EMA", ("02",), 2, 1),
    "04": Chapter("Timestep Norm", ("01",), 1, 2),
    "05": Chapter("gated, chunked\nattention", ("00", "02", "04"), 2, 0),
    "06": Chapter("normalized\nattention", ("03", "05"), 3, 0.5),
    "07": Chapter("two-hop\nresiduals", ("04",), 2, 2),
    "08": Chapter("Megalodon,\nassembled", ("06", "07"), 4, 1),
    "09": Chapter("memory and\ncompute scaling", ("08",), 0, 3),
    "10": Chapter("first Triton\nkernels", ("09",), 1, 3),
    "11": Chapter("Triton for\nMegalodon", ("10",), 2, 3),
    "12": Chapter("train a small\nmodel on a GPU", ("11",), 3, 3),
    "13": Chapter("does each part\nearn its place?", ("12",), 4, 3),
}
WIDTH, HEIGHT = 0.8, 0.56
GROUPS = {"00": style.VERMILION, "01": style.BLUE, "02": style.BLUE, "03": style.BLUE, "08": style.BLACK}


@gallery.kept(
    "chapter_map",
    alt="The chapters as boxes, an arrow from each to those that need it. 01 leads to 02 and on to 03; 00, 02 and 04 "
    "lead to 05; 03 and 05 lead to 06; 01 leads to 04 and 04 to 07; 06 and 07 lead to 08, 08 to 09, 09 to 10, "
    "10 to 11, 11 to 12, and 12 to 13. 00 and 01 need nothing.",
)
def chapter_map() -> Figure:
    """Boxes and arrows, read from left to right, the last row at the end."""
    figure, axes = style.figure(width=8.2, height=5.2)
    for number, chapter in CHAPTERS.items():
        for needed in chapter.needs:
            _arrow(axes, CHAPTERS[needed], chapter)
        color = GROUPS.get(number, style.GREY)
        corner = (chapter.column - WIDTH / 2, -chapter.row - HEIGHT / 2)
        box = FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", zorder=3)
        box.set(facecolor="white", edgecolor=color, linewidth=1.8)
        axes.add_patch(box)
        axes.text(chapter.column, -chapter.row + 0.155, number, ha="center", va="center", weight="bold", zorder=4)
        axes.text(chapter.column, -chapter.row - 0.08, chapter.title, ha="center", va="center", fontsize=8.5, zorder=4)
    axes.set(xlim=(-0.45, 4.45), ylim=(-3.35, 0.35))
    axes.set_axis_off()
    return figure


def _arrow(axes: Axes, first: Chapter, second: Chapter) -> None:
    if first.column < second.column:
        start, end = (first.column + WIDTH / 2, -first.row), (second.column - WIDTH / 2, -second.row)
        corners = []
    else:  # out of the first box's bottom, back between the rows, and into the second from above
        start, end = (first.column, -first.row - HEIGHT / 2), (second.column, -second.row + HEIGHT / 2)
        corners = [(first.column, 0.5 - second.row), (second.column, 0.5 - second.row)]
    path = Path([start, *corners, end])
    arrow = FancyArrowPatch(path=path, arrowstyle="-|>", color=style.GREY, mutation_scale=11, shrinkA=0, shrinkB=0)
    axes.add_patch(arrow)
