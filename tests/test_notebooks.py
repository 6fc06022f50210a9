"""Every chapter: canonical form, the course's anatomy, and stored outputs that are what its code prints."""

import ast
import copy
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from megalodon_edu.authoring.canonical import code_cells, problems
from megalodon_edu.authoring.copies import NOTE, renewed
from megalodon_edu.authoring.notebooks import LINK, read
from megalodon_edu.project import first_lines

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PAGES = [ROOT / "notebooks" / f"{name}.ipynb" for name in ("index", "glossary")]
COPIES = sorted((ROOT / "notebooks" / "on_a_gpu").glob("*.ipynb"))
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"
CARD = ["What you build", "What you need", "Reading", "Running", "Last verified"]
SECTIONS = ["Exercises", "Paper and released code", "Where people go wrong", "Recap"]
MOST_LINES = 25

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
each_notebook = pytest.mark.parametrize("path", CHAPTERS + PAGES, ids=lambda path: path.stem)
each_copy = pytest.mark.parametrize("path", COPIES, ids=lambda path: path.stem)


def tagged(notebook, tag):
    return [cell for cell in code_cells(notebook) if tag in cell.metadata.get("tags", [])]


def compare_with_nbval(path, cell_timeout=120):
    """Run one notebook under nbval; returns the exit status and what it printed."""
    command = [sys.executable, "-m", "pytest", str(path), "--nbval", f"--nbval-sanitize-with={SANITIZE}"]
    command += [f"--nbval-cell-timeout={cell_timeout}", "--nbval-current-env", "-p", "no:cacheprovider"]
    command += ["-p", "no:hypothesispytest", "-o", "addopts=", "-q", "--no-header", "--color=no", "--tb=short"]
    result = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=270)
    return result.returncode, result.stdout + result.stderr


def test_there_are_chapters():
    assert CHAPTERS


@each_notebook
def test_canonical_form(path):
    found = problems(read(path))
    assert not found, "\n".join(["run `megalodon-edu notebooks run` on it, and mend:", *found])


def test_the_chapters_that_train_and_measure_were_run_on_a_gpu():
    assert [path.name[:2] for path in COPIES] == ["12", "13"]


@each_copy
def test_a_copy_is_canonical_and_its_text_the_chapters(path):
    kept = read(path)
    assert problems(kept) == []
    now = renewed(kept, ROOT / "notebooks" / path.name, path.parent)
    assert now == kept, "run `megalodon-edu notebooks copies`"


@each_copy
def test_a_copy_says_where_it_ran_and_its_links_hold(path):
    cells = read(path).cells
    assert cells[1].id == NOTE and "NVIDIA" in cells[1].source and f"](../{path.name})" in cells[1].source
    links = [link for cell in cells if cell.cell_type == "markdown" for link in LINK.findall(cell.source)]
    assert links and [link for link in links if not (path.parent / link).is_file()] == []


@pytest.mark.parametrize("path", [path for path in CHAPTERS + PAGES if code_cells(read(path))], ids=lambda p: p.stem)
def test_the_first_cell_begins_with_what_a_hosted_notebook_needs(path):
    start, source = f"{first_lines()}\n", code_cells(read(path))[0].source
    assert source.startswith(start) and source.count("find_spec(") == 1, "run `megalodon-edu notebooks address`"


@each_chapter
def test_the_card_tells_what_to_expect(path):
    title, card = (cell.source for cell in read(path).cells[:2])
    assert title.startswith(f"# {path.stem[:2]} · ")
    assert [word for word in CARD if f"**{word}" not in card] == []


@each_chapter
def test_the_card_names_the_versions_that_the_tests_run_with(path):
    pinned = re.search(r"^torch==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert f"torch {pinned}" in read(path).cells[1].source


@each_chapter
def test_sections_follow_the_anatomy(path):
    headings = re.findall(r"^## (.*)", "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown"), re.M)
    places = [next((at for at, heading in enumerate(headings) if heading.startswith(s)), -1) for s in SECTIONS]
    assert -1 not in places, dict(zip(SECTIONS, places, strict=True))
    assert places == sorted(places)


@each_chapter
def test_only_the_first_code_cell_imports(path):
    importing = [
        cell.id
        for cell in code_cells(read(path))
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(cell.source)))
    ]
    assert importing == [code_cells(read(path))[0].id]


@each_chapter
def test_cells_are_short_and_show_something(path):
    for cell in code_cells(read(path))[1:]:
        assert len(cell.source.splitlines()) <= MOST_LINES, cell.id
        assert cell.outputs or "exercise" in cell.metadata.get("tags", []), f"{cell.id} shows nothing"


@each_chapter
def test_exercises_come_unsolved_with_check_hints_and_solution(path):
    notebook = read(path)
    stubs, checks, helps = (len(tagged(notebook, tag)) for tag in ("exercise", "check", "solution"))
    assert stubs == checks == helps >= 3
    for cell in tagged(notebook, "check"):
        verdict = cell.outputs[0].data["text/plain"]
        assert verdict.startswith(("Not yet: ", "Look again: ")), f"{cell.id}: {verdict}"


@each_chapter
def test_readers_commit_to_an_answer_and_play(path):
    notebook = read(path)
    assert sum("<details>" in cell.source for cell in notebook.cells if cell.cell_type == "markdown") >= 2
    assert any("Explorer(" in cell.source for cell in code_cells(notebook))


@each_notebook
def test_links_lead_to_files(path):
    markdown = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", markdown) if "://" not in link]
    assert [link for link in links if not (path.parent / link).is_file()] == []


@each_chapter
def test_the_card_leads_to_the_map_and_the_glossary(path):
    card = read(path).cells[1].source
    assert [page.name for page in PAGES if f"]({page.name})" not in card] == []


def test_the_map_leads_to_every_chapter():
    index = "\n".join(cell.source for cell in read(PAGES[0]).cells)
    assert [path.name for path in CHAPTERS if f"]({path.name})" not in index] == []


@pytest.mark.parametrize(
    "path", [path for path in CHAPTERS + PAGES if code_cells(read(path))], ids=lambda path: path.stem
)
@pytest.mark.notebook
@pytest.mark.timeout(290)
def test_stored_outputs_are_what_the_code_prints(path):
    status, report = compare_with_nbval(path)
    assert status == 0, report[-6000:]


@pytest.mark.notebook
@pytest.mark.timeout(120)
def test_a_broken_number_is_found_and_its_cell_named(tmp_path):
    notebook = copy.deepcopy(read(next(path for path in CHAPTERS if path.stem.startswith("01"))))
    number, cell = next(
        (n, cell) for n, cell in enumerate(code_cells(notebook)) for output in cell.outputs if has_digit(output)
    )
    notebook.cells = notebook.cells[: notebook.cells.index(cell) + 1]
    output = next(filter(has_digit, cell.outputs))
    output.text = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), output.text)
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    status, report = compare_with_nbval(tmp_path / "broken.ipynb")
    assert status == 1
    assert f"Cell {number}: Cell outputs differ" in report
    assert "1 failed" in report


def has_digit(output):
    return output.output_type == "stream" and re.search(r"\d", output.text) is not None


@pytest.mark.notebook
@pytest.mark.timeout(120)
def test_exceptions_and_endless_cells_fail_and_only_measured_cells_may_differ(tmp_path):
    measured = {"tags": ["measured", "nbval-ignore-output"]}
    cells = [
        new_code_cell("print(2)", execution_count=1, outputs=[new_output("stream", text="1\n")], metadata=measured),
        new_code_cell("1 / 0", execution_count=2),
        new_code_cell("while True: pass", execution_count=3),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "failing.ipynb")
    status, report = compare_with_nbval(tmp_path / "failing.ipynb", cell_timeout=2)
    assert status == 1
    assert "Cell 0" not in report
    assert "Cell 1: Cell execution caused an exception" in report
    assert "Cell 2: Timeout of 2 seconds exceeded" in report
    assert "2 failed, 1 passed" in report
