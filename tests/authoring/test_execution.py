"""Notebooks are executed in a fresh kernel; a cell that fails or never ends stops them and is named."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from megalodon_edu.authoring import notebooks
from megalodon_edu.authoring.canonical import problems
from megalodon_edu.authoring.notebooks import NotebookFailed, execute, read, run
from megalodon_edu.cli import main
from megalodon_edu.project import first_lines

pytestmark = [pytest.mark.notebook, pytest.mark.timeout(120)]


def notebook(*sources):
    cells = [new_code_cell(source, id=f"c-{number}") for number, source in enumerate(sources, 1)]
    return new_notebook(cells=[new_markdown_cell("# Title", id="c-0"), *cells])


def test_a_run_stores_canonical_outputs_and_the_same_bytes_again(tmp_path):
    picture = """\
from IPython.display import display
from megalodon_edu.plots import style
figure, axes = style.figure()
axes.plot([1, 2, 3])
style.show(figure, alt="A line that rises from 1 to 3.")"""
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook("print(1); print(2)", picture), path)
    assert run(path) == []
    first = path.read_bytes()
    assert problems(read(path)) == []
    assert read(path).cells[2].outputs[0].output_type == "display_data"
    assert run(path) == []
    assert path.read_bytes() == first


def test_the_limit_of_a_cell_is_an_option(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook("while True: pass"), path)
    assert main(["notebooks", "run", str(path), "--cell-seconds", "1"]) == 1
    assert "code cell 1 (c-1) took longer than 1 s" in capsys.readouterr().out


def test_an_exception_stops_and_leaves_the_file(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook("x = 1", "x / 0", "print('never')"), path)
    before = path.read_bytes()
    assert main(["notebooks", "run", str(path)]) == 1
    assert "code cell 2 (c-2) raised ZeroDivisionError: division by zero" in capsys.readouterr().out
    assert path.read_bytes() == before


def test_an_endless_cell_is_stopped(tmp_path):
    with pytest.raises(NotebookFailed, match=r"code cell 2 \(c-2\) took longer than 1 s"):
        execute(notebook("x = 1", "while True: pass"), tmp_path, cell_timeout=1)


def test_a_dead_kernel_is_named(tmp_path):
    with pytest.raises(NotebookFailed, match=r"code cell 1 \(c-1\) killed its kernel"):
        execute(notebook("import os; os._exit(1)"), tmp_path, cell_timeout=20)


def test_check_names_the_problem_and_fails(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook("print(1)"), path)
    assert main(["notebooks", "check", str(path)]) == 1
    assert "execution counts must be 1..n" in capsys.readouterr().out


def test_missing_notebooks_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["notebooks", "check"]) == 1
    assert "call this from the project's folder" in capsys.readouterr().err
    assert main(["notebooks", "check", "gone.ipynb"]) == 1
    assert "no such notebook: gone.ipynb" in capsys.readouterr().err


def test_a_new_address_replaces_the_first_lines_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook("import math\n\nprint(math.pi)", "x = 1"), path)
    assert run(path) == ["code cell 1 (c-1) prints 3.141592653589793: more than 4 digits after the decimal point"]
    before = read(path)
    monkeypatch.setattr(notebooks, "first_lines", lambda: first_lines("https://github.com/owner/name"))
    main(["notebooks", "address", str(path)])
    after = read(path)
    assert after.cells[1].source == before.cells[1].source.replace(
        "megalodon_edu-*.whl", "git+https://github.com/owner/name"
    )
    assert after.cells[1].source.endswith('complete")\n\nimport math\n\nprint(math.pi)')
    assert after.cells[1].outputs == before.cells[1].outputs
    assert after.cells[2:] == before.cells[2:]
