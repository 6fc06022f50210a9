"""The figures that are kept as files in figures/: who draws them, what they show, and the page that lists them.

A module of this package declares one with

    @gallery.kept("ema_kernel", alt="A bar chart of ...")
    def ema_kernel() -> Figure: ...
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from megalodon_edu.plots import style


class KeptFigure(NamedTuple):
    """A figure in figures/: its file's name without the ending, its description and how to draw it."""

    name: str
    alt: str
    draw: Callable[[], Figure]
    format: str

    @property
    def file_name(self) -> str:
        """The file's name in figures/."""
        return f"{self.name}.{self.format}"


_kept: dict[str, KeptFigure] = {}


def kept(name: str, alt: str, format: str = "svg") -> Callable[[Callable[[], Figure]], Callable[[], Figure]]:
    """Declare that a function without arguments draws figures/<name>.<format>; the function gets the course's style.

    Use "png" where an SVG would hold many thousands of points. Raises ValueError for another format, for a name that
    another function has taken and for an empty description.
    """
    if format not in ("svg", "png"):
        raise ValueError(f'format must be "svg" or "png", got {format!r}')
    if len(alt.split()) < 3:
        raise ValueError(f"alt must describe the figure in a sentence for those who cannot see it, got {alt!r}")

    def declare(draw: Callable[[], Figure]) -> Callable[[], Figure]:
        taken = _kept.get(name)
        if taken is not None and taken.draw.__module__ != draw.__module__:
            raise ValueError(f"name {name!r} is taken by {taken.draw.__module__}; choose another")
        drawn = style.styled(draw)
        _kept[name] = KeptFigure(name, " ".join(alt.split()), drawn, format)
        return drawn

    return declare


def all_kept() -> list[KeptFigure]:
    """Every declared figure of every module of megalodon_edu.plots, by name."""
    package = importlib.import_module("megalodon_edu.plots")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            importlib.import_module(f"{package.__name__}.{module.name}")
    return [_kept[name] for name in sorted(_kept)]


def rebuild(folder: Path) -> list[Path]:
    """Draw every kept figure into `folder`, with README.md listing them; returns the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    figures, written = all_kept(), []
    for figure in figures:
        path = folder / figure.file_name
        drawn = figure.draw()
        if figure.format == "svg":
            path.write_text(style.svg_text(drawn), encoding="utf-8", newline="\n")
        else:
            path.write_bytes(style.png_bytes(drawn))
        written.append(path)
    index = folder / "README.md"
    index.write_text(index_page(figures), encoding="utf-8", newline="\n")
    return [*written, index]


def index_page(figures: list[KeptFigure]) -> str:
    """figures/README.md: each figure with its alt text, as a picture and in words."""
    lines = ["# Figures", "", "Rebuilt by `python -m megalodon_edu.plots`; do not edit by hand."]
    for figure in figures:
        escaped = figure.alt.replace("[", r"\[").replace("]", r"\]")
        lines += ["", f"## {figure.name}", "", f"![{escaped}]({figure.file_name})", "", figure.alt]
    return "\n".join(lines) + "\n"
