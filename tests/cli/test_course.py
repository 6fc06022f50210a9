"""What `lab` does from an installed package: the course goes into a folder, and the reader's work is never lost."""

import json
import os

import pytest

from megalodon_edu import cli
from megalodon_edu.cli import CommandError, lab
from megalodon_edu.cli.course import RECORD, deliver

ONE, PAGE = "notebooks/01.ipynb", "docs/page.md"


@pytest.fixture
def course(tmp_path):
    for name in (ONE, "notebooks/02.ipynb", PAGE):
        path = tmp_path / "course" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}, first edition")
    return tmp_path / "course"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "reader" / "megalodon-edu"


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def test_everything_is_copied_once(course, folder):
    assert len(deliver(course, folder).copied) == 3
    assert contents(folder) == contents(course)
    again = deliver(course, folder)
    assert not (again.copied or again.renewed or again.kept or again.set_aside)


def test_a_changed_notebook_stays_and_a_deleted_one_comes_back(course, folder):
    deliver(course, folder)
    (folder / ONE).write_text("my answers")
    (folder / PAGE).unlink()
    delivery = deliver(course, folder)
    assert (delivery.kept, delivery.copied) == ([ONE], [PAGE])
    assert contents(folder) == contents(course) | {ONE: "my answers"}


def test_a_new_edition_renews_what_the_reader_left_alone(course, folder):
    deliver(course, folder)
    (folder / ONE).write_text("my answers")
    for name in (ONE, PAGE):
        (course / name).write_text(f"{name}, second edition")
    for _ in range(2):  # the reader's stays the reader's, however often the course comes
        delivery = deliver(course, folder)
        assert delivery.kept == [ONE]
    assert contents(folder)[ONE] == "my answers"
    assert contents(folder)[PAGE] == f"{PAGE}, second edition"


def test_fresh_sets_the_readers_aside_under_a_name_of_its_own_each_time(course, folder):
    deliver(course, folder)
    for answers in ("first answers", "second answers"):
        (folder / ONE).write_text(answers)
        deliver(course, folder, fresh=True)
    assert contents(folder) == contents(course) | {
        "notebooks/01.mine-1.ipynb": "first answers",
        "notebooks/01.mine-2.ipynb": "second answers",
    }
    assert deliver(course, folder, fresh=True).set_aside == []


@pytest.mark.parametrize("record", [None, "{ torn", "[]"])
def test_without_a_record_every_file_that_differs_is_the_readers(course, folder, record):
    deliver(course, folder)
    (folder / RECORD).unlink()
    if record is not None:
        (folder / RECORD).write_text(record)
    (course / PAGE).write_text("second edition")
    (folder / ONE).write_text("my answers")
    assert deliver(course, folder).kept == [PAGE, ONE]
    assert contents(folder)[ONE] == "my answers"


def test_an_interrupted_copy_is_taken_up_again(course, folder, monkeypatch):
    write, written = os.replace, []

    def replace(part, path):
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        write(part, path)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        deliver(course, folder)
    monkeypatch.undo()
    (course / PAGE).write_text("second edition")
    assert deliver(course, folder).renewed == [PAGE]
    assert {name: text for name, text in contents(folder).items() if not name.endswith(".part")} == contents(course)
    assert not list(folder.rglob("*.part"))


def test_a_file_in_the_way_gets_a_sentence(course, folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    with pytest.raises(CommandError, match="--folder"):
        deliver(course, folder)


@pytest.fixture
def installed(course, tmp_path, monkeypatch):
    """The command as in an installed package, called from an empty folder."""
    monkeypatch.setattr(lab, "COURSE", course)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def test_lab_copies_and_says_what_stays(installed, capsys):
    assert cli.main(["lab", "--no-open"]) == 0
    (installed / lab.FOLDER / ONE).write_text("my answers")
    assert cli.main(["lab", "--no-open"]) == 0
    assert f"You changed these, and they stay: {ONE}." in capsys.readouterr().out
    assert cli.main(["lab", "--no-open", "--fresh"]) == 0
    assert f"Your {ONE} is now 01.mine-1.ipynb." in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="Windows runs JupyterLab as a child")
def test_lab_opens_the_copy(installed, monkeypatch):
    started = []
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(lab.os, "execve", lambda path, command, environment: started.append(command))
    monkeypatch.setattr(lab.subprocess, "run", lambda command, **_: lab.subprocess.CompletedProcess(command, 0))
    cli.main(["lab", "--folder", "here", "--port", "8890"])
    [command] = started
    assert f"--ServerApp.root_dir={installed / 'here'}" in command
    assert command[-2:] == ["--port", "8890"]
    assert (installed / "here" / ONE).is_file()


def test_without_jupyterlab_the_copy_is_made_and_a_sentence_says_what_is_missing(installed, monkeypatch, capsys):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 1
    assert "[lab]" in capsys.readouterr().err
    assert (installed / lab.FOLDER / ONE).is_file()


def test_in_a_checkout_nothing_is_copied(capsys, monkeypatch):
    monkeypatch.setattr(lab, "ensure_environment", lambda root, extras: root / ".venv" / "bin" / "python")
    assert cli.main(["lab", "--no-open"]) == 0
    for arguments in (["--folder", "x"], ["--fresh"]):
        assert cli.main(["lab", "--no-open", *arguments]) == 1
        assert "installed package" in capsys.readouterr().err


def test_the_record_holds_what_was_delivered(course, folder):
    deliver(course, folder)
    assert set(json.loads((folder / RECORD).read_text())) == set(contents(course))
