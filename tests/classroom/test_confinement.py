"""What a student's code cannot do: read the grader's files, write, reach other processes, find the checks."""

import os
import resource
import shutil
import stat
import sys
from pathlib import Path

import pytest

import megalodon_edu
from megalodon_edu.classroom.confinement import Guards
from megalodon_edu.classroom.grading import chapters, exercises
from megalodon_edu.classroom.process import Process, _resident
from megalodon_edu.classroom.remote import Session
from megalodon_edu.classroom.report import guarded
from megalodon_edu.classroom.wire import Objects
from megalodon_edu.exercises.framework import Diagnosis

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process lock itself in")
PACKAGE = Path(megalodon_edu.__file__).parent
SECRETS = (
    "exercises/chapter01.py",
    "exercises/solutions/chapter01.py",
    "exercises/framework.py",
    "classroom/grading.py",
)


def test_the_copy_of_the_package_holds_no_checks_solutions_or_mutants(built):
    folder, _ = built
    files = [path for path in (folder / "megalodon_edu").rglob("*.py")]
    assert (folder / "megalodon_edu" / "ops" / "ema.py") in files
    assert not [path for path in files if {"exercises", "solutions", "mutants", "cli"} & set(path.parts)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for chapter in chapters():
        for exercise in exercises(chapter):
            assert exercise.success not in text and exercise.hints[-1] not in text
    assert not [entry for entry in (folder / "libraries").iterdir() if entry.name.startswith("megalodon")]


@pytest.mark.parametrize(
    "name", ["exercises", "exercises.chapter01", "exercises.solutions", "classroom.grading", "cli"]
)
def test_what_knows_the_answers_cannot_be_imported(name, refused):
    assert refused(f"import megalodon_edu.{name}") == "ModuleNotFoundError"


@linux
@pytest.mark.parametrize("name", SECRETS)
def test_the_graders_files_cannot_be_read_by_their_path(name, refused):
    assert (PACKAGE / name).read_text(encoding="utf-8")
    assert refused("open(args[0]).read()", str(PACKAGE / name)) == "PermissionError"


@linux
def test_folders_cannot_be_searched(refused, tmp_path):
    (tmp_path / "other.ipynb").write_text("{}")
    for folder in (PACKAGE, PACKAGE.parent, tmp_path, Path.home(), Path("/")):
        assert refused("os.listdir(args[0])", str(folder)) == "PermissionError"
    assert refused("open(args[0])", str(tmp_path / "other.ipynb")) == "PermissionError"


@linux
@pytest.mark.parametrize("name", ["environ", "cmdline", "maps", "mem", "fd", "root", "cwd", "task"])
def test_the_grader_cannot_be_looked_into(name, refused):
    line = "open(p).read() if os.path.isfile(p := f'/proc/{os.getppid()}/{args[0]}') else os.listdir(p)"
    assert refused(line, name) in ("PermissionError", "FileNotFoundError")


@linux
@pytest.mark.parametrize(
    "line",
    [
        "open(args[0], 'w')",
        "open(args[0], 'a')",
        "open(args[0] + '.new', 'w')",
        "os.remove(args[0])",
        "os.rename(args[0], args[0] + '.old')",
        "os.mkdir(args[0] + '.d')",
        "os.truncate(args[0], 0)",
        "os.chmod(args[0], 0)",
        "os.chown(args[0], 1, 1)",
        "os.utime(args[0])",
        "os.setxattr(args[0], 'user.x', b'y')",
        "os.link(args[0], args[0] + '.link')",
        "os.symlink(args[0], args[0] + '.link')",
        "os.mkfifo(args[0] + '.pipe')",
    ],
)
def test_nothing_can_be_written(line, refused, tmp_path):
    file = tmp_path / "grades.csv"
    file.write_text("1")
    before = os.stat(file)
    assert refused(line, str(file)) in ("PermissionError", "OSError")
    after = os.stat(file)
    assert file.read_text() == "1" and os.listdir(tmp_path) == ["grades.csv"]
    assert (before.st_mode, before.st_uid, before.st_mtime) == (after.st_mode, after.st_uid, after.st_mtime)


@linux
@pytest.mark.parametrize(
    "line",
    [
        "os.kill(os.getppid(), 0)",
        "os.kill(args[0], 15)",
        "os.killpg(os.getpgid(args[0]), 15)",
        "__import__('signal').pidfd_send_signal(os.pidfd_open(args[0]), 15)",
        "os.setpriority(os.PRIO_PROCESS, args[0], 19)",
        "os.sched_setaffinity(args[0], {0})",
        "__import__('resource').prlimit(args[0], 1, (0, 0))",
        "__import__('fcntl').fcntl(1, 8, args[0])",
        "__import__('fcntl').fcntl(1, 10, 9)",
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/sh', ['sh'])",
        "__import__('subprocess').run(['/bin/true'])",
        "__import__('multiprocessing').get_context('fork').Process(target=print).start()",
        "__import__('socket').create_connection(('127.0.0.1', 22))",
        "__import__('socket').socket()",
        "os.memfd_create('x')",
    ],
)
def test_other_processes_and_the_network_are_out_of_reach(line, refused):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert refused(line, os.getpid()) in ("PermissionError", "BlockingIOError", "OSError", "RuntimeError")
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == limits and os.getpriority(os.PRIO_PROCESS, 0) == 0


@linux
def test_system_calls_by_hand_are_refused_too(inside):
    # ptrace of the parent, process_vm_readv, mount, clone without threads
    body = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
results = []
for number, *rest in args[0]:
    results.append(libc.syscall(number, *rest))
return results
"""
    parent = os.getpid()
    calls = {
        "x86_64": [(101, 16, parent), (310, parent, 0, 0, 0, 0, 0), (165, 0, 0, 0, 0, 0), (56, 17, 0, 0, 0, 0)],
        "aarch64": [(117, 16, parent), (270, parent, 0, 0, 0, 0, 0), (40, 0, 0, 0, 0, 0), (220, 17, 0, 0, 0, 0)],
    }
    assert set(inside(body, [list(call) for call in calls[os.uname().machine]])) == {-1}


@linux
def test_limits_cannot_be_lifted(refused):
    for line in (
        "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))",
    ):
        assert refused(f"import resource; {line}") in ("ValueError", "PermissionError")


def test_searching_the_process_finds_no_check(inside):
    found = inside("""
import gc
kinds = {type(thing).__module__ for thing in gc.get_objects()} | set(sys.modules)
frame, files = sys._getframe(), []
while frame is not None:
    files.append(os.path.basename(frame.f_code.co_filename))
    frame = frame.f_back
names = sorted(name for name in kinds if isinstance(name, str) and name.startswith("megalodon_edu.exercises"))
words = [str(value) for value in (*os.environ.values(), *sys.argv, *sys.path)]
return names, files, words
""")
    names, files, words = found
    assert names == []
    assert set(files) <= {"<cell 1>", "student.py", "student_calls.py", "<string>"}
    assert not [word for word in words if str(PACKAGE) in word]


def test_no_file_and_no_socket_was_left_open(inside):
    kinds = inside("""
import stat
found = []
for number in range(256):
    try:
        found.append(stat.S_IFMT(os.fstat(number).st_mode))
    except OSError:
        pass
return found
""")
    assert len(kinds) >= 5 and set(kinds) == {stat.S_IFIFO, stat.S_IFCHR}


def test_threads_and_libraries_work(inside):
    assert inside("""
import threading
found = []
thread = threading.Thread(target=lambda: found.append(1))
thread.start()
thread.join()
torch.set_num_threads(2)
import bz2, lzma, json, ctypes, matplotlib.pyplot, numpy
from megalodon_edu.models import Megalodon
from megalodon_edu.data import documents
product = torch.randn(400, 400) @ torch.randn(400, 400)
return found, float(product @ torch.zeros(400) @ torch.ones(400)), len(documents("train")) > 0
""") == ([1], 0.0, True)


def test_memory_is_watched_where_the_system_does_not_limit_it(built):
    process = Process(*built, 2**33)
    process.ready()
    process.memory = 100 * 2**20  # the system's own limit stays higher
    nothing = Objects(lambda reference: None, lambda value: None)
    source = "def probe():\n    much = bytearray(b'x' * 2**29)\n    while True:\n        pass\n"
    process.limit(30)
    process.send({"do": "load", "cells": [["x", source, True]]}, nothing)
    process.receive(nothing)
    with pytest.raises(Diagnosis, match="took more than 100 MB of memory"):
        Session(process).answer("probe")()
    assert process._child.poll() is not None


@pytest.mark.skipif(shutil.which("ps") is None, reason="other systems than Linux are asked by ps")
def test_memory_is_known_on_other_systems_too(monkeypatch):
    here = _resident(os.getpid())
    monkeypatch.setattr(sys, "platform", "darwin")
    assert 0.5 < _resident(os.getpid()) / here < 2


def test_what_is_not_guarded_is_said():
    assert not [sentence for sentence in guarded(Guards(True, True, True)) if "Not guarded" in sentence]
    said = " ".join(guarded(Guards(False, False, False)))
    assert "Not guarded here: files" in said and "Not guarded here: other processes and the network" in said
    assert "Memory was watched" in said
