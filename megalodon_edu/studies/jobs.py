"""Independent runs side by side: each is a process of its own with a log, and one that fails leaves the others alone.

A job is finished when its result file is there. Calling `run_jobs` again takes up those that are not, so a list of jobs
can be worked off in several sittings.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from megalodon_edu.arguments import require_above_zero, require_positive

POLL_SECONDS = 0.1
LAST_LINES = 5
"""Of the log of a job that failed: what is shown of it."""


@dataclass(frozen=True)
class Job:
    """What `python` is given, and the file that is there when the run is finished. The name is that of its log."""

    name: str
    arguments: tuple[str, ...]
    result: Path


@dataclass(frozen=True)
class JobsReport:
    """Names of the jobs: finished before or now, failed, and not finished when the time was up."""

    finished: tuple[str, ...]
    failed: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every job is finished."""
        return not self.failed and not self.unfinished


def run_jobs(jobs: Sequence[Job], at_once: int, logs: Path, seconds: float | None = None) -> JobsReport:
    """Run the jobs that are not finished yet, `at_once` at a time in their order, and say what became of each.

    A job's output goes to `logs`/NAME.log. After `seconds` those that still run are ended. So they are on Ctrl-C, which
    is then raised, and on SIGTERM, which raises SystemExit: no process lives on that a later call would begin again.
    Each process may use its share of the CPU cores, unless OMP_NUM_THREADS says otherwise.
    Raises ValueError for a number of jobs or seconds that is not above 0, and for two jobs of one name.
    """
    require_positive("at_once", at_once)
    if seconds is not None:
        require_above_zero("seconds", seconds)
    names = [job.name for job in jobs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"jobs must have names of their own, got {twice[0]!r} twice")
    start = time.monotonic()
    waiting = [job for job in jobs if not job.result.exists()]
    if len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are there already", flush=True)
    logs.mkdir(parents=True, exist_ok=True)
    share = str(max(1, (os.cpu_count() or 1) // at_once))
    environment = {"OMP_NUM_THREADS": share, **os.environ}
    running: dict[str, tuple[Job, subprocess.Popen[bytes], float]] = {}
    failed: list[str] = []
    with _raising_on_terminate():
        try:
            while waiting or running:
                now = time.monotonic()
                if seconds is not None and now - start >= seconds:
                    break
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    running[job.name] = job, _begin(job, logs, environment), now
                for job, process, began in list(running.values()):
                    if process.poll() is None:
                        continue
                    del running[job.name]
                    took = time.monotonic() - began
                    if process.returncode == 0 and job.result.exists():
                        print(f"{job.name}: finished in {took:.0f} s", flush=True)
                    else:
                        failed.append(job.name)
                        print(f"{job.name}: failed after {took:.0f} s", flush=True)
                        print(_end_of(logs / f"{job.name}.log"), flush=True)
                time.sleep(POLL_SECONDS)
        finally:
            for _, process, _ in running.values():
                process.terminate()
            for _, process, _ in running.values():
                process.wait()
    finished = tuple(job.name for job in jobs if job.result.exists() and job.name not in failed)
    unfinished = tuple(name for name in names if name not in finished and name not in failed)
    if unfinished:
        print(f"The time is up; not finished: {', '.join(unfinished)}", flush=True)
    return JobsReport(finished, tuple(failed), unfinished)


@contextmanager
def _raising_on_terminate() -> Iterator[None]:
    """SIGTERM raises SystemExit meanwhile, so that `finally` is reached. Only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _begin(job: Job, logs: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (logs / f"{job.name}.log").open("wb") as log:
        return subprocess.Popen([sys.executable, *job.arguments], stdout=log, stderr=subprocess.STDOUT, env=environment)


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])
