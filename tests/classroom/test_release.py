"""The students' version: complete, running, and without an answer in it."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from megalodon_edu import cli
from megalodon_edu.classroom.grading import chapters, exercises
from megalodon_edu.classroom.release import LEFT_OUT, for_students, home
from megalodon_edu.exercises.framework import WITHHELD


def available():
    return [path.name[:2] for path in sorted((home() / "notebooks").glob("[0-9]*.ipynb"))]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "autumn"
    assert cli.main(["release", str(folder)]) == 0
    return folder


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def test_every_chapter_is_there_and_its_exercises_are_stubs(released):
    for chapter in set(available()) & set(chapters()):
        (path,) = (released / "student" / "notebooks").glob(f"{chapter}_*.ipynb")
        found = [cell for cell in cells(path) if "exercise" in tags(cell)]
        assert len(found) == len(exercises(chapter))
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in found)
        shown = [source(cell) for cell in cells(path) if "solution" in tags(cell)]
        assert len(shown) == len(found) and all(".hint()" in text and "solution" not in text for text in shown)


def test_links_between_the_notebooks_hold(released):
    notebooks = released / "student" / "notebooks"
    assert (notebooks / "on_a_gpu" / "12_train_a_small_model.ipynb").is_file()
    for path in notebooks.rglob("*.ipynb"):
        text = "\n".join(source(cell) for cell in cells(path) if cell["cell_type"] == "markdown")
        links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+\.ipynb)", text)
        assert [link for link in links if not (path.parent / link).is_file()] == [], path.name


def answers_of(chapter):
    """Names and bodies of solutions and wrong answers, those that are long enough to tell them from other code."""
    for kind in ("solutions", "mutants"):
        code = (home() / "megalodon_edu" / "exercises" / kind / f"chapter{chapter}.py").read_text(encoding="utf-8")
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef) and (kind == "solutions" or node.decorator_list):
                body = ast.get_source_segment(code, node).partition("):\n")[2]
                if len(body) > 120:
                    yield f"{kind} {chapter} {node.name}", body


def test_no_solution_is_left_in_any_file(released):
    text = []
    for path in released.rglob("*"):
        assert path.name not in ("solutions", "mutants", "classroom")
        if path.suffix == ".ipynb":
            assert ".solution(" not in path.read_text(encoding="utf-8")
            text += [str(cell.get("outputs", "")) + source(cell) for cell in cells(path)]
        elif path.suffix in (".py", ".md", ".json", ".toml"):
            text.append(path.read_text(encoding="utf-8"))
    everything = "\n".join(text)
    given = "\n".join(
        source(cell) for path in released.rglob("*.ipynb") for cell in cells(path) if "exercise" in tags(cell)
    )  # bugs to be found are given
    found = []
    for chapter in set(available()) & set(chapters()):
        found += [name for name, body in answers_of(chapter) if body in everything and body not in given]
    assert found == []


def run(released, program, *arguments):
    """Run a program with the students' package alone."""
    environment = os.environ | {"PYTHONPATH": str(released / "student"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments, "-c", program] if program else [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=released / "student", env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_package_imports_alone_and_its_checks_run(released):
    done = run(
        released,
        f"""
import importlib, pkgutil, megalodon_edu
assert megalodon_edu.__file__.startswith({str(released)!r})
from megalodon_edu.exercises import chapter01 as exercises

def alpha_for_half_life(steps):
    return 1 - 0.5 ** (1 / steps)

print(exercises.alpha_for_half_life.check(alpha_for_half_life))
print(exercises.alpha_for_half_life.check(lambda steps: 0.5))
print(exercises.ema.solution())
print(exercises.ema.hint())
for found in pkgutil.walk_packages(megalodon_edu.__path__, "megalodon_edu."):
    if not found.name.startswith(("megalodon_edu.__main__", "megalodon_edu.kernels", "megalodon_edu.plots.__main__")):
        importlib.import_module(found.name)
from megalodon_edu import cli
print(*cli.available_commands())
""",
    )
    assert done.returncode == 0, done.stderr
    assert "Yes: you can now order" in done.stdout and "Look again: for a half-life of 3" in done.stdout
    assert WITHHELD in done.stdout and "Hint 1: Two things happen" in done.stdout
    commands = done.stdout.splitlines()[-1].split()
    assert {"lab", "train", "generate"} <= set(commands)
    assert not {"grade", "release", "notebooks"} & set(commands)


def test_pip_is_told_the_same_dependencies(released):
    project = tomllib.loads((released / "student" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "torch==" in (released / "student" / "constraints.txt").read_text(encoding="utf-8")
    assert "    make lab  " in (released / "student" / "README.md").read_text(encoding="utf-8")
    assert any(line.startswith("torch") for line in project["dependencies"])
    assert not any("extra" in line for line in project["dependencies"])
    assert any(line.startswith("jupyterlab") for line in project["optional-dependencies"]["lab"])
    (triton,) = project["optional-dependencies"]["kernels"]
    assert re.fullmatch(r"triton[^;]*; platform_system == ['\"]Linux['\"]", triton)


def test_what_is_left_out_by_name_exists():
    package = home() / "megalodon_edu"
    there = [name for name in LEFT_OUT if (package / name).exists()]
    assert {"exercises/solutions", "exercises/mutants", "classroom", "authoring", "cli/grade.py"} <= set(there)


def check_schema(metadata):
    """nbgrader's schema 3 for the metadata of a cell, as its documentation and its v3.json give it."""
    kinds = {"schema_version": int, "grade": bool, "locked": bool, "solution": bool, "task": bool, "grade_id": str,
             "points": (int, float), "checksum": str, "cell_type": str}  # fmt: skip
    assert set(metadata) <= set(kinds) and {"schema_version", "grade", "locked", "solution"} <= set(metadata)
    assert all(type(value) is kinds[key] or key == "points" for key, value in metadata.items())
    assert metadata["schema_version"] == 3 and re.fullmatch(r"[a-zA-Z0-9_\-]+", metadata["grade_id"])
    assert ("points" in metadata) is metadata["grade"] and metadata.get("points", 0) >= 0


def test_the_same_assignment_is_one_of_nbgrader(released):
    found = sorted((released / "nbgrader" / "source").glob("*/*.ipynb"))
    assert [path.name[:2] for path in found] == [name for name in available() if name in chapters()]
    for path in found:
        marked = [cell for cell in cells(path) if "nbgrader" in cell["metadata"]]
        ids = [cell["metadata"]["nbgrader"]["grade_id"] for cell in marked]
        assert len(set(ids)) == len(ids)
        for cell in marked:
            assert cell["cell_type"] == "code"
            check_schema(cell["metadata"]["nbgrader"])
        expected = [f"{e.name}-{part}" for e in exercises(path.name[:2]) for part in ("answer", "check")]
        assert sorted(ids) == sorted(expected)
        checks = [source(cell) for cell in marked if cell["metadata"]["nbgrader"]["grade"]]
        assert all("assert verdict.passed, verdict" in text for text in checks)


def test_a_check_of_nbgrader_fails_for_a_wrong_answer_and_passes_for_a_right_one(released):
    (path,) = (released / "nbgrader" / "source").glob("01_*/*.ipynb")
    check = next(source(c) for c in cells(path) if "alpha_for_half_life.check" in source(c))
    from megalodon_edu.exercises import chapter01

    names = {"exercises": chapter01, "alpha_for_half_life": lambda steps: 0.5}
    with pytest.raises(AssertionError, match="halves the memory at every step"):
        exec(check, names)
    exec(check, names | {"alpha_for_half_life": lambda steps: 1 - 0.5 ** (1 / steps)})


def test_some_chapters_only_and_never_over_something(tmp_path, capsys):
    assert cli.main(["release", str(tmp_path / "week1"), "--chapters", "01"]) == 0
    names = {path.name[:2] for path in (tmp_path / "week1" / "student" / "notebooks").glob("*.ipynb")}
    assert "01" in names and "02" not in names and "in" in names  # the index
    for arguments, message in (
        ([str(tmp_path / "week1")], "FOLDER must be new or empty"),
        ([str(tmp_path / "x"), "--chapters", "99"], "--chapters must be among 00, 01"),
    ):
        assert cli.main(["release", *arguments]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_cell_that_still_asks_for_a_solution_is_refused():
    cell = {"id": "c01-99", "cell_type": "code", "source": "exercises.ema.solution()", "metadata": {}, "outputs": []}
    with pytest.raises(ValueError, match="cell c01-99 asks for a solution"):
        for_students({"cells": [cell]})
