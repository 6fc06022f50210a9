"""Runs side by side: what is finished stays, what fails is told, what is cut off can be taken up."""

import os
import signal
import threading
import time

import pytest

from megalodon_edu.studies.jobs import Job, JobsReport, run_jobs


def job(folder, name, program):
    """A job whose program finds its result's path as the only argument."""
    result = folder / f"{name}.txt"
    return Job(name, ("-c", f"import os, sys, time, pathlib\n{program}", str(result)), result)


WRITE = "pathlib.Path(sys.argv[1]).write_text('done')"


def test_every_job_runs_and_its_output_is_in_its_log(tmp_path, capfd):
    jobs = [job(tmp_path, name, f"print('I am {name}')\n{WRITE}") for name in ("first", "second", "third")]
    report = run_jobs(jobs, 2, tmp_path / "logs")
    assert report == JobsReport(("first", "second", "third"), (), ()) and report.complete
    for name in report.finished:
        assert (tmp_path / "logs" / f"{name}.log").read_text() == f"I am {name}\n"
    assert "second: finished in" in capfd.readouterr().out


def test_what_is_finished_is_not_run_again(tmp_path, capfd):
    jobs = [job(tmp_path, "once", "pathlib.Path(sys.argv[1]).open('a').write('run')")]
    assert run_jobs(jobs, 1, tmp_path / "logs") == run_jobs(jobs, 1, tmp_path / "logs")
    assert (tmp_path / "once.txt").read_text() == "run"
    assert "1 of 1 runs are there already" in capfd.readouterr().out


def test_a_job_that_fails_is_told_and_the_others_go_on(tmp_path, capfd):
    jobs = [
        job(tmp_path, "bad", "raise ValueError('no such thing')"),
        job(tmp_path, "silent", "pass"),  # leaves no result
        job(tmp_path, "good", WRITE),
    ]
    report = run_jobs(jobs, 1, tmp_path / "logs")
    assert report == JobsReport(("good",), ("bad", "silent"), ()) and not report.complete
    assert "ValueError: no such thing" in capfd.readouterr().out
    again = run_jobs([jobs[0], *jobs[2:]], 1, tmp_path / "logs")
    assert again.failed == ("bad",)


def test_two_run_at_the_same_time(tmp_path):
    meet = """
other = pathlib.Path(sys.argv[1]).with_name({!r})
pathlib.Path(sys.argv[1]).write_text('here')
while not other.exists():
    time.sleep(0.01)
"""
    jobs = [job(tmp_path, "one", meet.format("two.txt")), job(tmp_path, "two", meet.format("one.txt"))]
    for waiting in jobs:
        waiting.result.unlink(missing_ok=True)
    assert run_jobs(jobs, 2, tmp_path / "logs", seconds=60).complete


def test_at_the_limit_of_time_what_still_runs_is_ended(tmp_path, capfd):
    jobs = [
        job(tmp_path, "quick", WRITE),
        job(tmp_path, "slow", "pathlib.Path(sys.argv[1] + '.pid').write_text(str(os.getpid()))\ntime.sleep(600)"),
        job(tmp_path, "never", WRITE),
    ]
    report = run_jobs(jobs, 1, tmp_path / "logs", seconds=4)
    assert report == JobsReport(("quick",), (), ("slow", "never"))
    assert "The time is up; not finished: slow, never" in capfd.readouterr().out
    process = int((tmp_path / "slow.txt.pid").read_text())
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_each_process_gets_its_share_of_the_cores(tmp_path, monkeypatch):
    tell = "pathlib.Path(sys.argv[1]).write_text(os.environ['OMP_NUM_THREADS'])"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    jobs = [job(tmp_path, name, tell) for name in ("a", "b")]
    run_jobs(jobs[:1], 5, tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_jobs(jobs[1:], 5, tmp_path)
    assert [one.result.read_text() for one in jobs] == ["3", "7"]


def test_wrong_arguments_are_named(tmp_path):
    jobs = [Job("same", ("-c", ""), tmp_path / "x")] * 2
    with pytest.raises(ValueError, match="jobs must have names of their own, got 'same' twice"):
        run_jobs(jobs, 1, tmp_path)
    with pytest.raises(ValueError, match="at_once must be at least 1, got 0"):
        run_jobs(jobs[:1], 0, tmp_path)
    with pytest.raises(ValueError, match="seconds must be a finite number above 0, got 0"):
        run_jobs(jobs[:1], 1, tmp_path, seconds=0)


def test_terminating_the_caller_ends_its_jobs(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    endless = job(
        tmp_path, "endless", "pathlib.Path(sys.argv[1] + '.pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    )
    told = tmp_path / "endless.txt.pid"

    def terminate():
        while not (told.exists() and told.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    with pytest.raises(SystemExit) as ended:
        run_jobs([endless], 1, tmp_path / "logs", seconds=50)
    assert ended.value.code == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    assert signal.getsignal(signal.SIGTERM) is before
