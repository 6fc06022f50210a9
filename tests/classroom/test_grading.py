"""Whole notebooks graded: honest ones, broken ones, and those that would rather not be graded."""

import argparse
import csv
import json
import os
import re
import sys
from pathlib import Path

import pytest

import megalodon_edu
from megalodon_edu import cli
from megalodon_edu.classroom.grading import Grader
from megalodon_edu.classroom.submissions import Submission, UnreadableNotebook, read, submissions
from megalodon_edu.cli import grade

PACKAGE = Path(megalodon_edu.__file__).parent
TAGGED = ["exercise"]

RIGHT = {
    "ema": """\
def ema(x, alpha, state=None):
    h = torch.zeros(x.shape[0], x.shape[2], dtype=x.dtype) if state is None else state
    y = []
    for t in range(x.shape[1]):
        h = alpha * x[:, t] + (1 - alpha) * h
        y.append(h)
    return torch.stack(y, dim=1), h
""",
    "alpha_for_half_life": "def alpha_for_half_life(steps):\n    return 1 - 0.5 ** (1 / steps)\n",
    "ema_kernel": "def ema_kernel(alpha, length):\n    return alpha * (1 - alpha) ** torch.arange(length)\n",
    "ema_in_chunks": """\
def ema_in_chunks(x, alpha, chunk_size):
    return ema(x[None, :, None], torch.tensor([alpha], dtype=x.dtype))[0][0, :, 0]
""",
    "mean_so_far": """\
def mean_so_far(x, state=None):
    count, mean = (0, torch.zeros_like(x[:, 0])) if state is None else state
    y = []
    for t in range(x.shape[1]):
        count += 1
        mean = mean + (x[:, t] - mean) / count
        y.append(mean)
    return torch.stack(y, dim=1), (count, mean)
""",
}
IMPORTS = "import torch\n\nfrom megalodon_edu.exercises import chapter01 as exercises\n"


def notebook(*cells, **answers):
    """The JSON of a notebook of chapter 01: extra cells (source, tags), then the right answers or those given."""
    pairs = [(IMPORTS, []), *cells]
    pairs += [(answers.get(name, right), TAGGED) for name, right in RIGHT.items() if answers.get(name) != ""]
    return json.dumps({
        "nbformat": 4, "nbformat_minor": 5, "metadata": {},
        "cells": [
            {"id": f"own{number}", "cell_type": "code", "source": source, "metadata": {"tags": tags}, "outputs": [],
             "execution_count": None}
            for number, (source, tags) in enumerate(pairs)
        ],
    })  # fmt: skip


LIES = """
def lie(*args, **kwargs):
    return True
"""

NOTEBOOKS = {
    "honest": notebook(
        ("raise RuntimeError('a cell of the lesson that no answer needs')", []),
        ("import math\nSHARE = 0.25\nhalf = lambda n: SHARE", []),
        ("SHARE = 0.5\ntable = {}\ntable['one'] = 1\nraise RuntimeError('after it')", []),
        ("%matplotlib inline\nhalf = lambda n: SHARE ** (table['one'] / n)", []),
        alpha_for_half_life="def alpha_for_half_life(steps):\n    return 1 - half(steps)\n\nexercises.ema.check(ema)\n",
        ema="import os\n" + RIGHT["ema"].replace("    y = []\n", "    y = []\n    for _ in range(60):\n"
            "        os.write(1, b'x' * 2**20)\n        print('y' * 2**16)\n"),
    ),
    "deadly": notebook(
        ema="def ema(x, alpha, state=None):\n    while True:\n        pass\n",
        alpha_for_half_life="import os\ndef alpha_for_half_life(steps):\n    os._exit(0)\n",
        ema_kernel="import ctypes\ndef ema_kernel(alpha, length):\n    ctypes.string_at(0)\n",
        ema_in_chunks="def ema_in_chunks(x, alpha, chunk_size):\n    return torch.ones(2**34)\n",
    ),
    "cheating": notebook(
        (LIES + "import builtins, megalodon_edu\nbuiltins.all = lie\n", []),
        ("class Always(float):\n    def __eq__(self, other):\n        return True\n    __ne__ = lie\n"
         "    __float__ = lie\n", []),
        ema=LIES + "torch.allclose = torch.equal = lie\ntorch.isclose = lambda a, b, **k: torch.ones_like(a) > 0\n"
            "def ema(x, alpha, state=None):\n    torch.allclose = torch.equal = lie\n"
            "    return torch.zeros_like(x), torch.zeros(x.shape[0], x.shape[2], dtype=x.dtype)\n",
        alpha_for_half_life="def alpha_for_half_life(steps):\n    return Always(0.1)\n",
        ema_kernel="class Sly(torch.Tensor):\n    __eq__ = lie\n    shape = property(lambda self: (6,))\n"
            "def ema_kernel(alpha, length):\n    return torch.ones(length).as_subclass(Sly)\n",
        ema_in_chunks="import random\ndef ema_in_chunks(x, alpha, chunk_size):\n"
            "    right = torch.stack([h for h in x])\n    return right if random.random() < 0.5 else 0 * right\n",
        mean_so_far="import gc\ndef mean_so_far(x, state=None):\n"
            "    for frame in list(sys._current_frames().values()):\n        while frame:\n"
            "            for name in ('right', 'expected', 'total'):\n"
            "                if name in frame.f_locals:\n"
            "                    return frame.f_locals[name], (1, x[:, 0])\n"
            "            frame = frame.f_back\n"
            "    return x, (1, x[:, 0])\nimport sys\n",
    ),
    "thieving": notebook(
        ema="def ema(x, alpha, state=None):\n    names = {}\n"
            f"    exec(open({str(PACKAGE / 'exercises/solutions/chapter01.py')!r}).read(), names)\n"
            "    return names['ema'](x, alpha, state)\n",
        alpha_for_half_life="from megalodon_edu.exercises.solutions.chapter01 import alpha_for_half_life\n",
        ema_kernel="def ema_kernel(alpha, length):\n"
            "    seen = [0.2500, 0.1875, 0.140625, 0.10546875, 0.0791015625, 0.059326171875]\n"
            "    return torch.tensor(seen, dtype=torch.float64)\n",
        ema_in_chunks="import os\ndef ema_in_chunks(x, alpha, chunk_size):\n"
            "    for number in range(3, 256):\n        try:\n"
            "            os.write(number, b'\\x00\\x00\\x00\\x02\\x00\\x00\\x00\\x00{}')\n"
            "        except OSError:\n            pass\n    return x\n",
        mean_so_far="",
    ),
    "broken": notebook(
        ("def ema(x, alpha, state=None)\n    return x", TAGGED),
        ("def mean_so_far(x, state=None):\n    raise NotImplementedError", TAGGED),
        ema="", mean_so_far="",
        ema_kernel="helper = undefined_name\ndef ema_kernel(alpha, length):\n    return helper\n",
        ema_in_chunks="import os\ndef ema_in_chunks(x, alpha, chunk_size):\n"
            "    if os.fork() == 0:\n        os.setsid()\n        while True:\n            pass\n",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def grading(tmp_path_factory):
    """The results of all notebooks, by student and exercise, and the folder that the grader had."""
    folder = tmp_path_factory.mktemp("handed-in")
    results = {}
    with Grader(seconds=30, memory=2**30, seed=3) as grader:
        for name, text in NOTEBOOKS.items():
            path = folder / f"{name}.ipynb"
            path.write_text(text)
            grader.seconds = 4 if name == "deadly" else 30  # an endless loop takes it all
            results[name] = {result.exercise: result for result in grader.grade(Submission(name, path))}
            assert path.read_text() == text
        assert grader.guards is not None
    return results, grader._folder.name


@pytest.fixture
def graded(grading):
    return grading[0]


def verdicts(results):
    return {name: result.passed for name, result in results.items()}


def test_helpers_are_found_and_nothing_else_is_run_and_gigabytes_of_print_do_no_harm(graded):
    assert verdicts(graded["honest"]) == dict.fromkeys(RIGHT, True)


def test_what_kills_a_process_costs_one_exercise(graded):
    found = graded["deadly"]
    assert verdicts(found) == {**dict.fromkeys(RIGHT, False), "mean_so_far": True}
    assert "did not come to an end in time" in found["ema"].message
    assert "ended its process (exit status 0)" in found["alpha_for_half_life"].message
    assert "signal SIGSEGV" in found["ema_kernel"].message
    assert "memory" in found["ema_in_chunks"].message


def test_an_overwritten_checker_odd_equality_and_luck_earn_nothing(graded):
    assert verdicts(graded["cheating"]) == dict.fromkeys(RIGHT, False)
    assert graded["cheating"]["ema_kernel"].message.startswith("your kernel first differs at age 0")


def test_solutions_read_copied_or_forged_earn_nothing(graded):
    found = graded["thieving"]
    assert found["ema"].passed is False or sys.platform != "linux"
    assert "PermissionError" in found["ema"].message or sys.platform != "linux"
    assert "ModuleNotFoundError" in found["alpha_for_half_life"].message
    assert found["ema_kernel"].message.startswith("right with the numbers of the notebook, but not with others")
    assert found["ema_in_chunks"].passed is False
    assert found["mean_so_far"].passed is None and "no cell of the notebook defines" in found["mean_so_far"].message


def test_a_broken_cell_costs_its_own_exercise(graded):
    found = graded["broken"]
    assert verdicts(found) == {
        "ema": False, "alpha_for_half_life": True, "ema_kernel": False, "ema_in_chunks": False, "mean_so_far": None,
    }  # fmt: skip
    assert "SyntaxError" in found["ema"].message and "in line 1" in found["ema"].message
    assert "NameError: name 'undefined_name'" in found["ema_kernel"].message
    assert "still to be written" in found["mean_so_far"].message


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_outlives_the_grading(grading):
    folder, left = grading[1].encode(), []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if b"megalodon_edu.classroom.student" in line and folder in line:
            left.append(line)
    assert left == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "format 4"),
        (b'{"worksheets": []}', "format 4"),
        (b'{"cells": [1]}', "format 4"),
        (b'{"cells": [{"cell_type": "code"}]}', "format 4"),
        (b'{"cells": [{"cell_type": "code", "source": [1]}]}', "format 4"),
    ],
)
def test_a_file_that_is_no_notebook_is_said_to_be_none(content, why, tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)
    with pytest.raises(UnreadableNotebook, match=why):
        read(path)


def test_students_are_named_after_files_or_subfolders_and_links_are_not_followed(tmp_path):
    secret = tmp_path / "elsewhere.ipynb"
    secret.write_text(notebook())
    folder = tmp_path / "handed-in"
    for name in ("amy.ipynb", "bob/01_x.ipynb", "bob/deep/02_y.ipynb", ".ipynb_checkpoints/amy.ipynb", "bob/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(notebook())
    (folder / "eve.ipynb").symlink_to(secret)
    (folder / "dan").symlink_to(folder / "bob")
    found = [(student, path.name) for student, path in submissions(folder)]
    assert found == [("amy", "amy.ipynb"), ("bob", "01_x.ipynb"), ("bob", "02_y.ipynb")]


def test_the_courses_own_copies_in_a_students_folder_are_not_handed_in(tmp_path):
    for name in ("bob/12_x.ipynb", "bob/on_a_gpu/12_x.ipynb", "on_a_gpu/01_x.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(notebook())
    found = [path.relative_to(tmp_path).as_posix() for _, path in submissions(tmp_path)]
    assert found == ["bob/12_x.ipynb", "on_a_gpu/01_x.ipynb"]  # a student may be called anything


def test_a_notebook_names_its_chapters_by_its_import_or_its_file(tmp_path):
    path = tmp_path / "03_complex.ipynb"
    path.write_text(notebook())
    assert read(path).chapters == ["01"]
    path.write_text(notebook().replace("from megalodon_edu.exercises import chapter01 as exercises", "import torch"))
    assert read(path).chapters == ["03"]


def test_the_command_writes_tables_that_are_safe_to_open_and_a_page(tmp_path, capsys):
    folder, out = tmp_path / "handed-in", tmp_path / "grades"
    folder.mkdir()
    name = "=cmd()<b>"
    evil = "def alpha_for_half_life(steps):\n    raise ValueError('<script>alert(1)</script>\\n\\x1b[31m')\n"
    half = RIGHT["mean_so_far"].replace("if state is None else state", "")
    (folder / f"{name}.ipynb").write_text(notebook(alpha_for_half_life=evil, mean_so_far=half))
    (folder / "carl.ipynb").write_text("{")
    arguments = ["grade", str(folder), "--out", str(out), "--partial", "0.5", "--seed", "7", "--chapters", "01"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "=cmd()<b>" in said and "3 of 5 solved" in said and str(out / "report.html") in said
    with (out / "exercises.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}
    assert rows["'=cmd()<b>", "ema"]["points"] == "1" and rows["'=cmd()<b>", "ema"]["verdict"] == "yes"
    assert rows["'=cmd()<b>", "alpha_for_half_life"]["points"] == "0"
    assert 0 < float(rows["'=cmd()<b>", "mean_so_far"]["points"]) < 0.5
    assert rows["carl", ""]["verdict"] == "not graded" and "not JSON" in rows["carl", ""]["message"]
    with (out / "grades.csv").open(encoding="utf-8", newline="") as file:
        grades = {row["student"]: row for row in csv.DictReader(file)}
    assert grades["carl"]["points"] == "0" and grades["carl"]["possible"] == "5"
    assert 3 < float(grades["'=cmd()<b>"]["points"]) < 3.5
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page and "<script" not in page and "<b>" not in page and "\x1b" not in page
    assert "The seed of the fresh numbers was 7" in page and "no files but those of Python" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "FOLDER must be a folder of notebooks, got 'nowhere'"),
        (["."], "FOLDER must hold notebooks"),
        ([".", "--chapters", "99"], "--chapters must be among 00, 01"),
        ([".", "--timeout", "0"], "--timeout must be"),
        ([".", "--partial", "2"], "--partial must lie between"),
    ],
)
def test_a_call_that_cannot_work_says_why(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_the_page_for_teachers_names_options_that_exist():
    text = (PACKAGE.parent / "docs" / "classroom.md").read_text(encoding="utf-8")
    parser = argparse.ArgumentParser()
    grade.add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    named = set(re.findall(r"`(--[a-z]+)", text)) - {"--help"}
    assert {"--partial", "--seed", "--timeout", "--memory"} <= named <= known
