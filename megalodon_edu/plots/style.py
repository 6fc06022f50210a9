"""One look for every figure: colours by meaning, one way to make a figure, one way to show it with alt text.

    figure, axes = style.figure(height=2.6)      an empty figure with one axes, in the course's style
    style.show(figure, alt="...")                shows it in a notebook, with its description

Where the alt text is kept. No single place is read by every front end, so `show` fills three:
- `text/plain` of the output: VS Code reads it as the alt text of an image; a terminal prints it.
- `metadata["image/png"]["alt"]`: nbconvert and Jupyter Book put it into `<img alt>`.
- a folded line below the picture, "Figure in words": JupyterLab 4 and Notebook 7 give an image no alt attribute at all,
  and GitHub shows none either; there, everybody can unfold the sentence.
A picture is never sent as HTML with a data address: GitHub prefers HTML over PNG and may strip the address.
"""

import html
import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

# Okabe and Ito's palette, told apart by colour-blind eyes too.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW, BLACK = "#56B4E9", "#D55E00", "#F0E442", "#000000"
GREY, LIGHT_GREY = "#6B6B6B", "#D9D9D9"

# Colours by meaning: the same thing has the same colour in every chapter.
INPUT = GREY
MEMORY = BLUE
KERNEL = BLUE
TARGET = BLACK
ACCENT = VERMILION
MEGALODON = BLUE
TRANSFORMER = VERMILION
MODES = (ORANGE, GREEN, PINK, SKY, VERMILION, BLUE)

PIXELS_PER_INCH = 100
SALT = "megalodon-edu"

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#8A8A8A",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, PINK, SKY, VERMILION]),
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": SALT,
    "svg.fonttype": "path",
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a drawing function with the course's style, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


@styled
def figure(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.0, **grid: Any) -> tuple[Figure, Any]:
    """A figure of `width` × `height` inches and its axes: one Axes, or an array of them as `Figure.subplots` gives it.

    It is made without pyplot, so nothing is shown twice and nothing needs closing. `grid` goes to `Figure.subplots`
    (`sharex=True`, `width_ratios=[2, 1]`). Decorate a function that draws with `styled` so that texts and legends
    follow the style too.
    """
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows, columns, **grid)


def readable(color: str) -> str:
    """The colour, darkened until text in it has the contrast 4.5 : 1 to white that WCAG 2 asks for (1.4.3)."""
    red, green, blue = to_rgb(color)
    while 1.05 / (_luminance(red, green, blue) + 0.05) < 4.5:
        red, green, blue = 0.97 * red, 0.97 * green, 0.97 * blue
    return to_hex((red, green, blue))


def _luminance(*channels: float) -> float:
    """Relative luminance of sRGB channels from 0 to 1, as WCAG 2 defines it."""
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def label_line(axes: Axes, x: float, y: float, text: str, color: str, **text_options: Any) -> None:
    """Write a label beside a line, in a readable shade of the line's colour on a white halo, instead of a legend."""
    halo = [withStroke(linewidth=3, foreground="white")]
    options = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 9, "path_effects": halo, **text_options}
    axes.annotate(text, (x, y), color=readable(color), **options)


@styled
def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG at twice the screen's resolution, the same bytes on every call."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * PIXELS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


@styled
def svg_text(figure: Figure) -> str:
    """The figure as SVG, the same text on every call: no date, no maker, no random names."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    lines = buffer.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def show(figure: Figure, alt: str) -> None:
    """Show a figure in a notebook, with its description; see the module's docstring for where the description goes.

    Raises ValueError when `alt` says nothing.
    """
    from IPython.display import display

    data, metadata = image_bundle(figure, alt)
    display(data, metadata=metadata, raw=True)
    display({"text/html": _in_words(alt), "text/plain": ""}, raw=True)


def image_bundle(figure: Figure, alt: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data and metadata of a notebook's picture: image/png at half its pixels' size, and the description."""
    alt = " ".join(alt.split())
    if len(alt) < 10:
        raise ValueError(f"alt must describe the figure in a sentence for those who cannot see it, got {alt!r}")
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    data = {"image/png": png_bytes(figure), "text/plain": alt}
    return data, {"image/png": {"width": width, "height": height, "alt": alt}}


def _in_words(alt: str) -> str:
    text = html.escape(" ".join(alt.split()), quote=False)
    return f'<details style="opacity: 0.7; font-size: 85%"><summary>Figure in words</summary>{text}</details>'
