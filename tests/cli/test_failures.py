import os
import subprocess
import sys

import pytest
import torch

from megalodon_edu import cli
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import require_folder
from megalodon_edu.measure.json_file import save_json


def test_a_full_memory_gets_a_remedy():
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError("8 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ):
        with pytest.raises(cli.CommandError, match="the memory is full; take a smaller model"), explained():
            raise error


def test_an_error_of_the_system_gets_the_file_and_a_remedy(tmp_path):
    with pytest.raises(cli.CommandError, match=r"lost.txt: No such file or directory; check the path"), explained():
        (tmp_path / "lost.txt").open()
    with pytest.raises(cli.CommandError, match=r"^No space left on device; check .* the free space"), explained():
        raise OSError(28, "No space left on device")
    with pytest.raises(cli.CommandError, match=r"^there is no library; install it$"), explained():
        raise FileNotFoundError("there is no library; install it")


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"--out must be writable, got '.*run': .* is not; choose another place"):
        require_folder("--out", tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"), explained():
        raise RuntimeError("a bug")


def test_a_broken_pipe_is_left_to_main():
    with pytest.raises(BrokenPipeError), explained():
        raise BrokenPipeError


def test_a_reader_that_goes_away_ends_a_command_quietly():
    program = (
        "import sys\n"
        "from megalodon_edu import cli\n"
        "cli._run = lambda name, rest: print('x') or 0\n"
        "sys.exit(cli.main(['generate']))\n"
    )
    ended, read = os.pipe()
    os.close(ended)  # nobody will ever read
    done = subprocess.run([sys.executable, "-c", program], stdout=read, stderr=subprocess.PIPE, text=True)
    os.close(read)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_saved_file_replaces_the_old_one_whole(tmp_path, monkeypatch):
    path = tmp_path / "new" / "score.json"
    save_json(path, {"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space"):
            save_json(path, {"a": 2})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    save_json(path, {"a": 3})
    assert path.read_text() == '{\n  "a": 3\n}\n' and [p.name for p in path.parent.iterdir()] == ["score.json"]
