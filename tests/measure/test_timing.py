import subprocess

import pytest
import torch

from megalodon_edu.measure import environment as place
from megalodon_edu.measure import timing
from megalodon_edu.measure.environment import commit, environment
from megalodon_edu.measure.timing import median_seconds

CPU = torch.device("cpu")


def test_functions_take_turns_and_the_warm_up_does_not_count():
    calls, clock = [], {"now": 0.0}
    costs = {"slow": iter([90.0, 3.0, 5.0, 4.0]), "fast": iter([70.0, 1.0, 1.0, 8.0])}

    def call(name):
        calls.append(name)
        clock["now"] += next(costs[name])

    functions = {"slow": lambda: call("slow"), "fast": lambda: call("fast")}
    found = median_seconds(functions, CPU, repeats=3, warmup=1, clock=lambda: clock["now"])
    assert found == {"slow": 4.0, "fast": 1.0}
    assert calls == ["slow", "fast"] * 4


def test_a_gpu_has_finished_before_the_clock_is_read(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    timing.seconds(
        lambda: events.append("work"), torch.device("cuda"), clock=lambda: float(events.append("clock") or len(events))
    )
    assert events == ["wait", "clock", "work", "wait", "clock"]


def test_a_measurement_needs_a_round():
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        median_seconds({}, CPU, repeats=0)


def test_the_environment_is_plain_and_complete():
    found = environment(CPU)
    assert found["torch"] == torch.__version__ and found["device"] and found["threads"] == torch.get_num_threads()
    assert all(isinstance(value, str | int | None) for value in found.values())


def test_the_commit_tells_changed_files(tmp_path, monkeypatch):
    def git(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / "package" / "measure" / "environment.py"
    file.parent.mkdir(parents=True)
    file.write_text("one")
    monkeypatch.setattr(place, "__file__", str(file))
    assert commit() is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = commit()
    assert len(clean) == 12
    file.write_text("two")
    assert commit() == clean + "+"


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(place, "__file__", str(tmp_path / "package" / "measure" / "environment.py"))
    monkeypatch.setenv("PATH", "")
    assert commit() is None
