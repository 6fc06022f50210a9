import re
from pathlib import Path

import pytest
from matplotlib.patches import FancyArrowPatch

from megalodon_edu.plots.chapter_map import CHAPTERS, chapter_map

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def test_the_map_holds_every_chapter_under_its_title():
    titles = {}
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        number, title = re.match(r"# (\d\d) · (.*)", nbformat.read(path, 4).cells[0].source).groups()
        titles[number] = title.lower()
    assert titles == {
        number: chapter.title.replace("-\n", "-").replace("\n", " ").lower() for number, chapter in CHAPTERS.items()
    }


def test_a_chapter_needs_only_earlier_ones_and_stands_to_their_right_or_in_a_later_row():
    for number, chapter in CHAPTERS.items():
        for needed in chapter.needs:
            assert needed < number
            before = CHAPTERS[needed]
            assert before.column < chapter.column or before.row < chapter.row


def test_there_is_one_arrow_for_every_need():
    (axes,) = chapter_map().axes
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == sum(len(chapter.needs) for chapter in CHAPTERS.values())
    assert {text.get_text() for text in axes.texts} >= set(CHAPTERS)
