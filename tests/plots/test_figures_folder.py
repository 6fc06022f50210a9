"""figures/ holds what `python -m megalodon_edu.plots` draws, the same files and words, and a film with its script."""

from pathlib import Path

import pytest

from megalodon_edu.plots import gallery

FOLDER = Path(__file__).resolve().parents[2] / "figures"
FILM = {"pole_plane.py", "pole_plane.gif"}


def test_there_is_a_file_for_every_kept_figure_and_no_other():
    expected = {figure.file_name for figure in gallery.all_kept()} | {"README.md"} | FILM
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == expected, "run python -m megalodon_edu.plots"


def test_the_index_is_up_to_date():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == gallery.index_page(gallery.all_kept())


@pytest.mark.parametrize("figure", gallery.all_kept(), ids=lambda figure: figure.name)
def test_a_kept_figure_holds_data(figure):
    drawn = figure.draw()
    assert any(axes.has_data() for axes in drawn.axes)
