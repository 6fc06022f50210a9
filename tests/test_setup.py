"""The commands that run before anything is installed, lab and test, and what they install. pip is never called."""

import ast
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from megalodon_edu import cli
from megalodon_edu.cli import CommandError, lab, setup
from megalodon_edu.cli import test as test_command

ROOT = Path(__file__).resolve().parents[1]
INDEX = "https://cpu.example/whl"


class FakeMachine:
    """Stands in for subprocess.run: notes the commands, creates a virtual environment's Python, and can fail."""

    def __init__(self, python: Path):
        self.python = python
        self.commands: list[list[str]] = []
        self.fails = lambda command: False
        self.python_version = "{}.{}".format(*sys.version_info[:2])
        self.torch_version = "2.12.0+cu130"

    def run(self, command, **options):
        words = [str(word) for word in command]
        self.commands.append(words)
        if self.fails(words):
            return subprocess.CompletedProcess(words, 1, "", "it failed")
        if words[1:3] == ["-m", "venv"]:
            self.python.parent.mkdir(parents=True, exist_ok=True)
            self.python.touch()
        code = words[2] if words[1] == "-c" else ""
        answer = self.torch_version if "metadata" in code else self.python_version if "version_info" in code else ""
        return subprocess.CompletedProcess(words, 0, answer, "")

    @property
    def pip(self) -> list[str]:
        """What pip was told to install, one line a call."""
        return [" ".join(words[4:]) for words in self.commands if words[1:4] == ["-m", "pip", "install"]]

    @property
    def venv(self) -> list[list[str]]:
        return [words for words in self.commands if words[1:3] == ["-m", "venv"]]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.delenv("TORCH", raising=False)
    monkeypatch.delenv("TORCH_CPU_INDEX", raising=False)
    return tmp_path


@pytest.fixture
def machine(checkout, monkeypatch):
    folder = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    machine = FakeMachine(checkout / ".venv" / folder)
    monkeypatch.setattr(setup, "subprocess", SimpleNamespace(run=machine.run))
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(setup, "index_answers", lambda index: False)
    return machine


def test_the_second_call_finds_everything_installed(checkout, machine):
    python = setup.ensure_environment(checkout, ["lab"])
    assert python == machine.python
    assert len(machine.venv) == 1
    assert any("-e .[lab]" in line and "constraints.txt" in line for line in machine.pip)
    machine.commands.clear()
    assert setup.ensure_environment(checkout, ["lab"]) == python
    assert machine.commands == []


def test_more_extras_are_added_and_none_is_taken_away(checkout, machine):
    setup.ensure_environment(checkout, ["test"])
    setup.ensure_environment(checkout, ["lab"])
    assert "-e .[lab,test]" in machine.pip[-1]
    machine.commands.clear()
    setup.ensure_environment(checkout, ["test"])
    assert machine.commands == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_list_of_dependencies_is_installed_again(checkout, machine, name):
    setup.ensure_environment(checkout, ["lab"])
    machine.commands.clear()
    (checkout / name).write_text((checkout / name).read_text() + "\n# changed\n")
    setup.ensure_environment(checkout, ["lab"])
    assert machine.pip and not machine.venv


def test_a_failing_pip_leaves_no_stamp(checkout, machine):
    setup.ensure_environment(checkout, ["lab"])
    (checkout / "constraints.txt").write_text("numpy==2.4.6\n")
    machine.fails = lambda command: "install" in command
    for _ in range(2):
        with pytest.raises(CommandError, match="pip failed"):
            setup.ensure_environment(checkout, ["lab"])
        assert not (checkout / ".venv" / setup.STAMP).exists()
    machine.fails = lambda command: False
    setup.ensure_environment(checkout, ["lab"])
    assert (checkout / ".venv" / setup.STAMP).exists()


def test_an_interrupted_pip_leaves_no_stamp(checkout, machine):
    def interrupt(command):
        if "install" in command:
            raise KeyboardInterrupt
        return False

    machine.fails = interrupt
    with pytest.raises(KeyboardInterrupt):
        setup.ensure_environment(checkout, ["lab"])
    assert not (checkout / ".venv" / setup.STAMP).exists()


def test_a_torn_stamp_counts_as_none(checkout, machine):
    setup.ensure_environment(checkout, ["lab"])
    (checkout / ".venv" / setup.STAMP).write_text('{"fingerprint": ')
    machine.commands.clear()
    setup.ensure_environment(checkout, ["lab"])
    assert machine.pip


def test_a_moved_checkout_and_another_python_get_a_new_environment(checkout, machine):
    setup.ensure_environment(checkout, ["lab"])
    stamp = checkout / ".venv" / setup.STAMP
    content = json.loads(stamp.read_text())
    for made_for in ("Python 3.11 at somewhere else", "Python 3.99 at " + str(checkout)):
        stamp.write_text(json.dumps(content | {"made_for": made_for, "fingerprint": "of then"}))
        machine.commands.clear()
        setup.ensure_environment(checkout, ["lab"])
        assert [words[3] for words in machine.venv] == ["--clear"]


def test_a_half_made_environment_is_made_again(checkout, machine):
    machine.python.parent.mkdir(parents=True)
    machine.python.touch()
    machine.fails = lambda command: "-c" in command and "import pip" in command[2]
    setup.ensure_environment(checkout, ["lab"])
    assert len(machine.venv) == 1


def test_a_python_without_ensurepip_is_told_which_package_is_missing(checkout, machine, monkeypatch):
    there = setup.importlib.util.find_spec
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else there(name))
    with pytest.raises(CommandError, match="python3-venv"):
        setup.ensure_environment(checkout, ["lab"])
    assert machine.commands == []


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(CommandError, match="no checkout"):
        setup.ensure_environment(tmp_path, ["lab"])


@pytest.mark.parametrize(
    ("platform", "gpu", "answers", "arguments", "words"),
    [
        ("linux", False, True, ("torch", "--index-url", INDEX), "CPU build of"),
        ("linux", False, False, (), "does not answer"),
        ("linux", True, True, (), "CUDA build"),
        ("darwin", False, True, (), "this system"),
        ("win32", False, True, (), "this system"),
        ("win32", True, True, (), "docs/installing.md"),
    ],
)
def test_the_build_of_torch_follows_the_hardware(platform, gpu, answers, arguments, words):
    choice = setup.choose_torch("", INDEX, platform, lambda: gpu, lambda index: answers)
    assert choice.arguments == arguments
    assert words in choice.sentence
    assert len(choice.sentence.splitlines()) == 1


def test_no_index_is_asked_where_there_is_a_gpu_or_no_address():
    def ask(index):
        raise AssertionError(f"asked {index}")

    assert setup.choose_torch("", INDEX, "linux", lambda: True, ask).arguments == ()
    assert setup.choose_torch("", "", "linux", lambda: False, ask).arguments == ()
    assert setup.choose_torch("torch==2.12.0", INDEX, "linux", lambda: False, ask).arguments[-1] == "torch==2.12.0"


def test_the_cpu_index_serves_torch_alone(checkout, machine, monkeypatch, capsys):
    monkeypatch.setattr(setup, "index_answers", lambda index: index == INDEX)
    monkeypatch.setenv("TORCH_CPU_INDEX", INDEX)
    setup.ensure_environment(checkout, ["lab"])
    first, second = machine.pip
    assert f"--no-deps -c {checkout / 'constraints.txt'} torch --index-url {INDEX}" in first
    assert "index-url" not in second
    assert capsys.readouterr().out.count("PyTorch: ") == 1


def test_a_cpu_index_without_a_fitting_build_is_passed_over(checkout, machine, monkeypatch, capsys):
    monkeypatch.setattr(setup, "index_answers", lambda index: True)
    machine.fails = lambda command: "--index-url" in command
    setup.ensure_environment(checkout, ["lab"])
    assert "-e .[lab]" in machine.pip[-1]
    assert "pip's own choice" in capsys.readouterr().out


def test_torch_overrides_the_choice_and_its_constraints(checkout, machine, monkeypatch):
    monkeypatch.setenv("TORCH", "torch==2.12.0 --index-url https://gpu.example/whl")
    setup.ensure_environment(checkout, ["lab"])
    first, second = machine.pip
    assert "--no-deps" in first and first.endswith("torch==2.12.0 --index-url https://gpu.example/whl")
    assert "torch===2.12.0+cu130" in second
    used = Path(second.split("-c ")[1].split()[0]).read_text()
    names = {line.partition("==")[0] for line in used.splitlines()}
    assert "numpy" in names and not names & {"torch", "triton"}
    machine.commands.clear()
    setup.ensure_environment(checkout, ["lab"])
    assert machine.commands == []
    monkeypatch.delenv("TORCH")
    setup.ensure_environment(checkout, ["lab"])
    assert machine.pip


def test_torch_that_installs_no_torch_is_refused(checkout, machine, monkeypatch):
    monkeypatch.setenv("TORCH", "numpy")
    machine.torch_version = ""
    with pytest.raises(CommandError, match="did not install torch"):
        setup.ensure_environment(checkout, ["lab"])


def test_the_address_of_the_cpu_index_comes_from_the_environment_or_the_makefile(checkout, monkeypatch):
    assert setup.torch_cpu_index(checkout).startswith("https://")
    monkeypatch.setenv("TORCH_CPU_INDEX", INDEX)
    assert setup.torch_cpu_index(checkout) == INDEX
    monkeypatch.setenv("TORCH_CPU_INDEX", "")
    assert setup.torch_cpu_index(checkout) == ""


class _Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/whl/torch/"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b"<a>torch-2.13.0</a>" if known else b"")

    def log_message(self, *_):
        pass


def test_the_probe_believes_only_an_index_that_lists_torch(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert setup.index_answers(f"{address}/whl")
        assert setup.index_answers(f"{address}/whl/")
        assert not setup.index_answers(f"{address}/elsewhere")
        server.shutdown()
    assert not setup.index_answers(f"{address}/whl")
    assert not setup.index_answers("no address")


def test_the_probe_gives_up_on_an_index_that_stays_silent():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not setup.index_answers(f"http://127.0.0.1:{silent.getsockname()[1]}/whl", seconds=0.2)


@pytest.mark.timeout(30)
def test_the_probe_gives_up_on_an_index_that_answers_too_slowly(monkeypatch):
    """Each byte comes in time, so the limit of a single read never strikes, but the page never ends."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    given_up = threading.Event()

    def drip(server):
        connection = server.accept()[0]
        connection.sendall(b"HTTP/1.0 200 OK\r\nSlow: ")
        while not given_up.wait(0.05):
            connection.sendall(b"x")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as slow:
        threading.Thread(target=drip, args=(slow,), daemon=True).start()
        try:
            assert not setup.index_answers(f"http://127.0.0.1:{slow.getsockname()[1]}/whl", seconds=0.5)
        finally:
            given_up.set()


@pytest.mark.parametrize(("listing", "status", "found"), [("GPU 0: H100", 0, True), ("", 9, False), ("none", 0, False)])
def test_a_gpu_counts_only_when_nvidia_smi_lists_it(monkeypatch, listing, status, found):
    monkeypatch.setattr(setup.shutil, "which", lambda name: name)
    answer = subprocess.CompletedProcess([], status, listing, "")
    monkeypatch.setattr(setup.subprocess, "run", lambda *_, **__: answer)
    assert setup.has_nvidia_gpu() is found
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    assert not setup.has_nvidia_gpu()


def test_the_kernel_and_the_settings_stay_inside_the_environment(checkout, machine):
    setup.ensure_environment(checkout, ["lab"])
    [kernel] = [words for words in machine.commands if words[1:4] == ["-m", "ipykernel", "install"]]
    assert kernel[4:7] == ["--sys-prefix", "--name", "python3"]
    settings = json.loads((checkout / ".venv/share/jupyter/lab/settings/overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


@pytest.mark.skipif(os.name != "posix", reason="Windows runs JupyterLab as a child")
def test_lab_hands_its_arguments_to_jupyterlab(monkeypatch):
    started = []
    monkeypatch.setattr(lab, "ensure_environment", lambda root, extras: root / ".venv/bin/python")
    monkeypatch.setattr(lab.os, "execve", lambda path, command, environment: started.append((command, environment)))
    monkeypatch.setattr(lab.os, "geteuid", lambda: 0)
    monkeypatch.setattr(lab.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    assert cli.main(["lab", "--no-browser", "--port", "8890"]) == 0
    command, environment = started[0]
    assert command[1:3] == ["-m", "jupyterlab"]
    assert command[-3:] == ["--no-browser", "--port", "8890"]
    assert f"--FileContentsManager.preferred_dir={ROOT / 'notebooks'}" in command
    assert "--allow-root" in command
    assert environment["JUPYTER_PREFER_ENV_PATH"] == "1"


def test_test_runs_all_three_and_returns_the_first_failure(monkeypatch):
    statuses = {"ruff": 0, "mypy": 3, "pytest": 5}
    ran = []

    def run(command, env, **_):
        ran.append(command[2:])
        assert int(env["OMP_NUM_THREADS"]) >= 1 and env["PATH"]
        return subprocess.CompletedProcess(command, statuses[command[2]])

    monkeypatch.setattr(test_command, "ensure_environment", lambda root, extras: "python")
    monkeypatch.setattr(test_command, "subprocess", SimpleNamespace(run=run))
    assert cli.main(["test", "tests/ops", "-k", "causal"]) == 3
    assert ran[:2] == [["ruff", "check", "."], ["mypy"]]
    assert ran[2][:2] == ["pytest", "-n"] and 1 <= int(ran[2][2]) <= test_command.MOST_WORKERS
    assert ran[2][3:] == ["--dist", "loadscope", "tests/ops", "-k", "causal"]


def bare_python(*arguments: str) -> subprocess.CompletedProcess:
    """Run this Python without any installed package."""
    return subprocess.run([sys.executable, "-S", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", ["lab", "test"])
def test_lab_and_test_need_nothing_but_the_standard_library(command):
    shown = bare_python("-m", "megalodon_edu", command, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"megalodon-edu {command}" in shown.stdout
    loaded = bare_python("-c", f"import sys, megalodon_edu.cli.{command}; print(*sys.modules)")
    assert "megalodon_edu.cli.setup" in loaded.stdout.split()


def test_a_command_without_its_packages_says_what_to_run(monkeypatch, tmp_path, capsys):
    (tmp_path / "needs_a_package.py").write_text('HELP = "x"\nimport a_package_that_nobody_has\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "COMMANDS", {"draw": "needs_a_package"})
    assert cli.main(["draw"]) == 1
    error = capsys.readouterr().err
    assert "lacks a_package_that_nobody_has" in error and "make lab" in error


def test_the_overview_lists_the_commands_that_are_there(monkeypatch, capsys):
    monkeypatch.setitem(cli.COMMANDS, "ghost", "megalodon_edu.cli.ghost")
    assert cli.main([]) == 0
    overview = capsys.readouterr().out
    assert lab.HELP in overview and test_command.HELP in overview
    assert "ghost" not in overview
    assert cli.main(["ghost"]) == 2
    assert "no command 'ghost'" in capsys.readouterr().err


def test_unknown_arguments_are_refused_where_they_go_nowhere(monkeypatch, tmp_path, capsys):
    (tmp_path / "strict_command.py").write_text(
        'HELP = "x"\ndef add_arguments(parser): pass\ndef run(args): return 0\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "COMMANDS", {"strict": "strict_command"})
    assert cli.main(["strict"]) == 0
    with pytest.raises(SystemExit):
        cli.main(["strict", "--nonsense"])
    assert "--nonsense" in capsys.readouterr().err


def test_an_old_python_gets_one_sentence():
    for name in ("__init__.py", "__main__.py"):
        ast.parse((ROOT / "megalodon_edu" / name).read_text(encoding="utf-8"), feature_version=(3, 7))
    program = "import runpy, sys; sys.version_info = (3, 10, 4); runpy.run_module('megalodon_edu', run_name='__main__')"
    refused = bare_python("-c", program)
    assert refused.returncode == 1
    assert refused.stderr.strip() == "megalodon-edu needs Python 3.11 or newer, and this is Python 3.10."
