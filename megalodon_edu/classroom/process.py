"""A student's process, seen from the grader: start it, talk to it within a limit of time, end it with all it holds."""

import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megalodon_edu.classroom.confinement import Guards
from megalodon_edu.classroom.wire import LENGTHS, Objects, WireError, lengths, pack, unpack

START = 120.0
"""Seconds that a process may take until it is ready: it imports PyTorch, perhaps for the first time on a machine."""

OUTPUT = 4000
"""Characters of what the answers print that are kept."""

LOOK = 0.2
"""Seconds between two looks at the memory."""

PROGRAM = (
    "import sys; sys.path[:0] = [{folder!r}, {libraries!r}]; from megalodon_edu.classroom.student import main; main()"
)


class Gone(Exception):
    """The process is no more, or has been ended; the message says why, as the end of a sentence about the code."""


class NotStarted(ValueError):
    """No process for answers starts on this machine; the message says what it printed."""


class Process:
    """One process that runs the answers of one notebook."""

    def __init__(self, folder: Path, readable: list[str], memory: int) -> None:
        """Start it; `memory` is in bytes, and what Python and the libraries need comes on top."""
        self.memory, self.deadline = memory, 0.0
        inward, self._write = os.pipe()
        self._read, outward = os.pipe()
        printed, output = os.pipe()
        settings = {"readable": readable, "memory": memory, "requests": inward, "replies": outward}
        program = PROGRAM.format(folder=str(folder), libraries=str(folder / "libraries"))
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", program, json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(inward, outward),
            start_new_session=True,
            cwd=folder,
            env=_environment(folder),
        )
        for descriptor in (inward, outward, output):
            os.close(descriptor)
        os.set_blocking(self._write, False)
        self._output = bytearray()
        self._drain = threading.Thread(target=self._keep, args=(printed,), daemon=True)
        self._drain.start()
        self.guards: Guards | None = None
        self._idle = 0

    def ready(self) -> Guards:
        """Wait until it has confined itself; returns what is guarded. Raises NotStarted where that fails."""
        if self.guards is None:
            self.limit(START)
            try:
                message = self.receive(_nothing())
            except Gone as gone:
                raise NotStarted(f"the process for answers {gone}; it printed: {self.output.strip()}") from gone
            self.guards = Guards(**message["guards"])
            self._idle = _resident(self._child.pid)
        return self.guards

    def load(self, cells: Sequence[tuple[str, str, bool]]) -> None:
        """Give it the cells of a notebook: (id, source, tagged "exercise"). Raises Gone."""
        self.send({"do": "load", "cells": cells}, _nothing())
        self.receive(_nothing())

    def limit(self, seconds: float) -> None:
        """From now on it has so many seconds."""
        self.deadline = time.monotonic() + seconds

    def send(self, message: dict[str, Any], objects: Objects) -> None:
        """Send a message. Raises Gone if the process does not take it in time."""
        data = memoryview(pack(message, objects))
        with selectors.DefaultSelector() as ready:
            ready.register(self._write, selectors.EVENT_WRITE)
            while data:
                self._wait(ready)
                try:
                    data = data[os.write(self._write, data) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._gone() from None

    def receive(self, objects: Objects) -> dict[str, Any]:
        """The next message. Raises Gone if it does not come in time, or what comes is none."""
        try:
            text, numbers = lengths(self._exactly(LENGTHS.size))
            return unpack(self._exactly(text), self._exactly(numbers), objects)
        except WireError as error:
            self.end()
            raise Gone(f"sent the grader something that is no answer ({error})") from error

    def end(self) -> None:
        """Kill it, and every process of its group, and wait until they are gone."""
        if self._read < 0:
            return  # its number may belong to somebody else by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.kill()
        self._child.wait()
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._read = self._write = -1
        self._drain.join(timeout=5)

    @property
    def output(self) -> str:
        """The beginning of what the answers have printed so far."""
        return self._output[:OUTPUT].decode(errors="replace")

    def _exactly(self, count: int) -> bytes:
        pieces = []
        with selectors.DefaultSelector() as ready:
            ready.register(self._read, selectors.EVENT_READ)
            while count > 0:
                self._wait(ready)
                piece = os.read(self._read, min(count, 2**20))
                if not piece:
                    raise self._gone()
                pieces.append(piece)
                count -= len(piece)
        return b"".join(pieces)

    def _wait(self, ready: selectors.BaseSelector) -> None:
        """Wait until one can go on. Raises Gone at the deadline, and where the memory is above its limit."""
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0:
                self.end()
                raise Gone("did not come to an end in time, as in a loop that never stops")
            if ready.select(min(LOOK, left)):
                return
            if self._idle and _resident(self._child.pid) - self._idle > self.memory:
                self.end()
                raise Gone(f"took more than {self.memory / 2**20:,.0f} MB of memory")

    def _gone(self) -> Gone:
        """Why the pipe is closed."""
        try:
            status = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.end()
            return Gone("closed the pipe to the grader")
        self.end()
        if status < 0:
            with contextlib.suppress(ValueError):
                return Gone(f"ended its process with the signal {signal.Signals(-status).name}")
        return Gone(f"ended its process (exit status {status})")

    def _keep(self, printed: int) -> None:
        """Read what is printed to its end, and keep the beginning."""
        with open(printed, "rb", buffering=0) as pipe:
            while piece := pipe.read(2**16):
                self._output += piece[: max(0, 4 * OUTPUT - len(self._output))]


def _nothing() -> Objects:
    """For messages that hold no objects."""
    return Objects(lambda reference: None, lambda value: None)


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the grader's own environment but the way to libraries."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
    paths = {name: str(folder) for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "TRITON_HOME", "TORCHINDUCTOR_CACHE_DIR")}
    return kept | one | paths | {"PATH": "", "LANG": "C.UTF-8", "TRITON_INTERPRET": "1", "PYTHONHASHSEED": "0"}


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds, 0 where that is not known."""
    try:
        if sys.platform == "linux":
            with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * resource.getpagesize()
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, timeout=5)
        return 1024 * int(shown.stdout)
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return 0
