import subprocess
import sys

import matplotlib
import pytest

from megalodon_edu.plots import gallery, style


def draw():
    figure, axes = style.figure(height=2)
    axes.plot([0, 1, 2], [0, 1, 0], color=style.MEMORY)
    axes.fill_between([0, 1], [0, 1])  # clip paths are what SVG gives random names to
    axes.set(xlabel="step", title="A peak")
    return figure


def test_the_same_figure_gives_the_same_bytes():
    assert style.png_bytes(draw()) == style.png_bytes(draw())
    svg = style.svg_text(draw())
    assert svg == style.svg_text(draw())
    assert "<dc:date>" not in svg and "Matplotlib v" not in svg
    assert b"Software" not in style.png_bytes(draw())


def test_a_figure_leaves_matplotlibs_settings_alone():
    before = dict(matplotlib.rcParams)
    draw()
    style.png_bytes(draw())
    assert dict(matplotlib.rcParams) == before


def test_a_drawing_function_sees_the_style():
    assert style.styled(lambda: matplotlib.rcParams["axes.titlesize"])() == style.RC["axes.titlesize"]


def test_a_png_has_twice_the_pixels_it_is_shown_at():
    data, metadata = style.image_bundle(draw(), "A line that rises to one and falls again.")
    png = data["image/png"]
    width = int.from_bytes(png[16:20], "big")
    assert (width, metadata["image/png"]["width"]) == (1400, 700)


def test_the_description_is_where_front_ends_look(monkeypatch):
    pytest.importorskip("IPython", reason="the notebook's packages are not installed")
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, metadata=None, **_: shown.append((data, metadata)))
    style.show(draw(), "A line that rises to < 1\n   and falls again.")
    (image, metadata), (words, _) = shown
    assert image["text/plain"] == "A line that rises to < 1 and falls again."
    assert metadata["image/png"]["alt"] == image["text/plain"]
    assert "rises to &lt; 1 and falls" in words["text/html"]


@pytest.mark.parametrize("alt", ["", "   ", "figure"])
def test_a_figure_without_description_is_refused(alt):
    with pytest.raises(ValueError, match="alt must describe"):
        style.image_bundle(draw(), alt)


def test_the_colours_differ():
    assert len(set(style.MODES)) == 6


@pytest.fixture
def empty_gallery(monkeypatch):
    monkeypatch.setattr(gallery, "_kept", {})


def test_kept_figures_are_rebuilt_identically_with_an_index(empty_gallery, monkeypatch, tmp_path):
    monkeypatch.setattr(gallery.pkgutil, "iter_modules", lambda path: [])
    gallery.kept("peak", alt="One sharp [peak] in the middle.")(draw)
    gallery.kept("peak_png", alt="The same peak as pixels.", format="png")(draw)
    first = gallery.rebuild(tmp_path / "first")
    second = gallery.rebuild(tmp_path / "second")
    assert [path.name for path in first] == ["peak.svg", "peak_png.png", "README.md"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert r"![One sharp \[peak\] in the middle.](peak.svg)" in first[-1].read_text()


def test_bad_declarations_are_refused(empty_gallery):
    with pytest.raises(ValueError, match="format must be"):
        gallery.kept("a", alt="A figure of something.", format="gif")
    with pytest.raises(ValueError, match="alt must describe"):
        gallery.kept("a", alt="")
    gallery.kept("a", alt="A figure of something.")(draw)

    def other(): ...

    other.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="is taken by"):
        gallery.kept("a", alt="A figure of something.")(other)


def test_the_command_writes_an_index(tmp_path):
    subprocess.run([sys.executable, "-m", "megalodon_edu.plots", str(tmp_path)], check=True, timeout=120)
    index = (tmp_path / "README.md").read_text()
    assert index.startswith("# Figures")
    listed = {line.split("](")[1].rstrip(")") for line in index.splitlines() if line.startswith("![")}
    assert listed == {path.name for path in tmp_path.iterdir()} - {"README.md"}


@pytest.mark.parametrize("name", ["BLUE", "ORANGE", "GREEN", "PINK", "SKY", "VERMILION", "YELLOW", "BLACK", "GREY"])
def test_labels_can_be_read_on_white(name):
    def linear(channel):
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    shade = style.readable(getattr(style, name))
    red, green, blue = (linear(int(shade[at : at + 2], 16) / 255) for at in (1, 3, 5))
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) > 4.45  # 4.5, rounded to 8 bits a channel
    _, axes = style.figure()
    style.label_line(axes, 0, 0, "a line", getattr(style, name))
    assert axes.texts[0].get_color() == shade


def test_a_colour_that_can_be_read_stays_as_it_is():
    assert style.readable(style.BLUE).upper() == style.BLUE
