"""The teacher's guide: it names exercises, explorers and commands that exist, and its minutes add up."""

import importlib
import re
from pathlib import Path

import pytest

from megalodon_edu import cli
from megalodon_edu.exercises.framework import exercises_of
from megalodon_edu.exercises.questions import chapters

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "teaching"
START = (GUIDE / "README.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(GUIDE.glob("[0-9][0-9].md"))}
SECTIONS = ["Objectives", "Timing", "The misconception", "Board sketch", "Questions to ask", "What goes wrong in class"]
LECTURES = {"two hours": 120, "four hours": 240, "eight hours": 480}

each_page = pytest.mark.parametrize("chapter", PAGES)


def notebook_of(chapter):
    found = list((ROOT / "notebooks").glob(f"{chapter}_*.ipynb"))
    return found[0].read_text(encoding="utf-8") if found else None


def section(page, name):
    return re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL).group(1)


def minutes(table, column=0):
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [int(row[column]) for row in rows if row[column].strip().isdigit()]


def exercises_listed(page):
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| .+ \|$", page, re.MULTILINE)
    return {name: int(time) for name, time in rows}


def test_there_is_a_page_for_each_chapter():
    assert list(PAGES) == chapters() == [f"{number:02}" for number in range(14)]


@each_page
def test_a_page_has_every_section_in_order(chapter):
    headings = re.findall(r"^## (.*)$", PAGES[chapter], re.MULTILINE)
    assert headings[: len(SECTIONS)] == SECTIONS
    assert PAGES[chapter].startswith(f"# {chapter} · ")


@each_page
def test_objectives_questions_and_stumbling_blocks_are_several(chapter):
    page = PAGES[chapter]
    assert len(re.findall(r"^- ", section(page, "Objectives"), re.MULTILINE)) >= 3
    questions = re.findall(r"^- \*\*[^*]+\?\*\* \S", section(page, "Questions to ask"), re.MULTILINE | re.DOTALL)
    assert len(questions) >= 3, "a question in bold, then a good answer"
    assert len(re.findall(r"^- ", section(page, "What goes wrong in class"), re.MULTILINE)) >= 3


@each_page
def test_a_board_sketch_fits_on_a_board(chapter):
    sketch = re.search(r"```\n(.*?)```", section(PAGES[chapter], "Board sketch"), re.DOTALL).group(1)
    assert 6 <= len(sketch.splitlines()) <= 16
    assert max(map(len, sketch.splitlines())) <= 96


@each_page
def test_the_minutes_of_a_lecture_are_those_of_the_overview(chapter):
    (overview,) = re.findall(rf"^\| \[{chapter}\]\({chapter}\.md\) .* \| (\d+) \|$", START, re.MULTILINE)
    assert sum(minutes(section(PAGES[chapter], "Timing"))) == int(overview)


@pytest.mark.parametrize(("name", "total"), LECTURES.items())
def test_a_syllabus_is_as_long_as_it_says(name, total):
    table = re.search(rf"^### {name}:.*?(?=^### |^## )", START, re.MULTILINE | re.DOTALL | re.IGNORECASE).group()
    assert sum(minutes(table)) == total


def test_the_seminar_has_six_weeks_and_every_chapter():
    seminar = re.search(r"^### Six weeks.*?(?=^## )", START, re.MULTILINE | re.DOTALL).group()
    assert minutes(seminar) == [1, 2, 3, 4, 5, 6]
    assert set(chapters()) <= set(re.findall(r"\b\d\d\b", seminar))


@each_page
def test_exercises_are_the_chapters_own_with_the_notebooks_minutes(chapter):
    listed, notebook = exercises_listed(PAGES[chapter]), notebook_of(chapter)
    if not listed and chapter == "13":
        return  # its page speaks of studies
    module = importlib.import_module(f"megalodon_edu.exercises.chapter{chapter}")
    assert list(listed) == [exercise.name for exercise in exercises_of(module)]
    if notebook is not None:
        said = re.findall(r"### Exercise \d.*?· (\d+) minutes", notebook)
        assert list(listed.values()) == [int(time) for time in said]


@pytest.mark.parametrize("page", [START, *PAGES.values()], ids=["README", *PAGES])
def test_names_in_the_guide_exist(page):
    explorers = pytest.importorskip("megalodon_edu.explorers", exc_type=ImportError)
    for name in re.findall(r"`(\w+Explorer)`", page):
        assert hasattr(explorers, name)
    for command in re.findall(r"`megalodon-edu (\w+)", page):
        assert command in cli.available_commands()
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (GUIDE / target).exists(), target


@each_page
def test_the_explorers_of_a_page_stand_in_its_notebook(chapter):
    notebook = notebook_of(chapter)
    for name in re.findall(r"`(\w+Explorer)`", PAGES[chapter]):
        assert notebook is None or name in notebook


def test_exercises_in_the_syllabi_exist():
    known = {name for page in PAGES.values() for name in exercises_listed(page)}
    syllabi = START.partition("## Syllabi")[2].partition("## Before")[0]
    named = set(re.findall(r"`([a-z_]+)`", syllabi))
    assert named and named <= known
