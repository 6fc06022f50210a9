"""A process that runs students' code, shared by the tests that only talk to it."""

import os

import pytest

if os.name != "posix":
    collect_ignore_glob = ["*"]  # grading needs a POSIX system
else:
    from megalodon_edu.classroom import runtime
    from megalodon_edu.classroom.process import Process
    from megalodon_edu.classroom.remote import Session


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder that students' code sees, and what it may read."""
    folder = tmp_path_factory.mktemp("runtime")
    return folder, runtime.build(folder)


@pytest.fixture(scope="session")
def process(built):
    """One confined process."""
    running = Process(*built, 2**31)
    running.ready()
    yield running
    running.end()


@pytest.fixture
def load(process):
    """Gives the process cells of (id, source, tagged) and returns a function that makes a session for an answer."""

    def load(*cells):
        process.limit(60)
        process.load(cells)
        return lambda: Session(process)

    return load


@pytest.fixture
def inside(load):
    """Runs lines in the confined process as the body of a function, with these arguments; returns its value."""

    def inside(body, *args):
        lines = "\n".join(f"    {line}" for line in body.strip("\n").split("\n"))
        source = f"import os, sys\nimport torch\ndef probe(*args):\n{lines}\n"
        return load(["x", source, True])().answer("probe")(*args)

    return inside


@pytest.fixture
def refused(inside):
    """The name of the exception that a line raises in the confined process, "" where it raises none."""

    def refused(line, *args):
        body = f"try:\n    {line}\nexcept BaseException as error:\n    return type(error).__name__\nreturn ''"
        return inside(body, *args)

    return refused
