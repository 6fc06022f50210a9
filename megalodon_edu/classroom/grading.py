"""Grade notebooks: each in a process of its own, every exercise by the grader's own check with numbers of its own."""

import importlib
import inspect
import pkgutil
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import megalodon_edu.exercises as package
from megalodon_edu.classroom import runtime
from megalodon_edu.classroom.confinement import Guards
from megalodon_edu.classroom.process import Gone, NotStarted, Process
from megalodon_edu.classroom.remote import Session
from megalodon_edu.classroom.submissions import Submission, UnreadableNotebook, read
from megalodon_edu.exercises.framework import Diagnosis, Exercise, NotYet, Verdict, exercises_of
from megalodon_edu.exercises.fresh import fresh

ROUNDS = 2
"""Rounds with fresh numbers, after one with those of the notebook, whose diagnosis the student knows already."""

NO_TRITON = "No module named 'triton'"


@dataclass(frozen=True)
class Result:
    """What became of one exercise of one notebook, or of a notebook that could not be graded (without an exercise)."""

    student: str
    notebook: str
    chapter: str
    exercise: str
    passed: bool | None
    message: str
    reached: float = 0.0
    """How much of its check an answer that is not right has passed, from 0 to 1: the share of its calls."""

    @property
    def verdict(self) -> str:
        """ "yes", "look again" or "not yet"; "not graded" for a notebook."""
        if not self.exercise:
            return "not graded"
        return {True: "yes", False: "look again", None: "not yet"}[self.passed]

    def points(self, partial: float) -> float:
        """1 for a right answer; for another one `partial` times how far it came."""
        return 1.0 if self.passed else round(partial * self.reached, 3)


def chapters() -> list[str]:
    """The numbers of the chapters with exercises that can be graded here ("00", "01", ...)."""
    names = [name for _, name, _ in pkgutil.iter_modules(package.__path__)]
    return [name.removeprefix("chapter") for name in names if name.startswith("chapter")]


def exercises(chapter: str) -> list[Exercise]:
    """The exercises of a chapter, in order."""
    return exercises_of(importlib.import_module(f"{package.__name__}.chapter{chapter}"))


class Grader:
    """Grades notebooks one after another. To be used in a `with` block, which builds what the students' code sees.

    `seconds` is what the answer to one exercise may take, `memory` in bytes what it may use on top of Python and the
    libraries. `seed` decides the fresh numbers; without one they are nobody's guess.
    """

    def __init__(self, seconds: float, memory: int, seed: int | None = None) -> None:
        self.seconds, self.memory = seconds, memory
        self.seed = secrets.randbits(32) if seed is None else seed
        self.guards: Guards | None = None
        self._calls: dict[tuple[str, str, int], int] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="megalodon-edu-grade-")
        self._readable = runtime.build(Path(self._folder.name))
        self._spare: Process | None = self._started()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._spare is not None:
            self._spare.end()
        self._folder.cleanup()

    def _started(self) -> Process:
        return Process(Path(self._folder.name), self._readable, self.memory)

    @contextmanager
    def _process(self, cells: Sequence[tuple[str, str, bool]]) -> Iterator[Process]:
        """A process that has read the cells. The next one starts meanwhile: importing PyTorch takes a while."""
        process = self._spare or self._started()
        self._spare = None
        try:
            self.guards = process.ready()
            self._spare = self._started()
            process.limit(self.seconds)
            process.load(cells)
            yield process
        finally:
            process.end()

    def grade(self, submission: Submission, only: Sequence[str] = ()) -> list[Result]:
        """The results of one notebook: of every exercise of its chapters, of those in `only` where it is given.

        Raises NotStarted where no process for answers starts. Whatever else fails costs this notebook alone.
        """
        try:
            return self._grade(submission, only)
        except NotStarted:
            raise
        except Exception as error:
            message = f"the grader stopped at it with {type(error).__name__}: {error}"
            return [Result(submission.student, submission.path.name, "", "", None, message)]

    def _grade(self, submission: Submission, only: Sequence[str]) -> list[Result]:
        student, name = submission.student, submission.path.name
        try:
            found = read(submission.path)
        except UnreadableNotebook as error:
            return [Result(student, name, "", "", None, f"{error}.")]
        known = [chapter for chapter in found.chapters if chapter in chapters()]
        if not known:
            return [Result(student, name, "", "", None, "it belongs to no chapter of the course: " + _HOW)]
        results = []
        waiting = [
            (chapter, exercise) for chapter in known if not only or chapter in only for exercise in exercises(chapter)
        ]
        while waiting:
            try:
                with self._process(found.cells) as process:
                    while waiting:
                        chapter, exercise = waiting[0]
                        verdict, reached, alive = self._examine(process, exercise)
                        waiting.pop(0)
                        results.append(
                            Result(student, name, chapter, exercise.name, verdict.passed, verdict.message, reached)
                        )
                        if not alive:
                            break
            except Gone as gone:  # before any answer was run
                return [
                    *results,
                    Result(student, name, "", "", None, f"its cells could not be read: the process {gone}."),
                ]
        return results

    def _examine(self, process: Process, exercise: Exercise) -> tuple[Verdict, float, bool]:
        """The verdict, how far a wrong answer came, and whether the process lives on."""
        process.limit(self.seconds)
        reached = 0.0
        for turn in range(1 + ROUNDS):
            session = Session(process)
            with _numbers(self.seed, turn):
                verdict = _checked(exercise, session)
                if verdict.passed is False and session.calls:
                    reached = (turn + self._share(exercise, session.calls, turn)) / (1 + ROUNDS)
            if verdict.passed is not True:
                break
        if (
            verdict.passed is False
            and NO_TRITON in verdict.message + (session.failed or "")
            and not find_spec("triton")
        ):
            verdict = Verdict(None, "not run: this machine has no Triton; grade on Linux with the package triton.")
        elif verdict.passed is not True and session.failed:
            message = f"{verdict.message.rstrip('.')}. Before that, a line that it needs {session.failed}"
            verdict = Verdict(verdict.passed, message)
        elif verdict.passed is False and turn and not session.gone:
            verdict = Verdict(False, f"right with the numbers of the notebook, but not with others: {verdict.message}")
        return verdict, reached, session.in_step()

    def _share(self, exercise: Exercise, calls: int, turn: int) -> float:
        """The calls before the one that went wrong, as a share of those that the check makes of a right answer."""
        key = (exercise.chapter, exercise.name, turn)
        if key not in self._calls:
            self._calls[key] = _calls_of_solution(exercise)
        return min(1.0, (calls - 1) / self._calls[key]) if self._calls[key] else 0.0


_HOW = "keep its first cell, which imports the chapter's exercises, or begin the file's name with the chapter's number."


@contextmanager
def _numbers(seed: int, turn: int) -> Iterator[None]:
    """The numbers of one round: in the first one those of the notebook."""
    if turn == 0:
        yield
    else:
        with fresh(ROUNDS * seed + turn):
            yield


def _checked(exercise: Exercise, session: Session) -> Verdict:
    try:
        answer = session.answer(exercise.name)
    except NotYet as reason:
        return Verdict(None, str(reason) or exercise.check(None).message)
    except Diagnosis as diagnosis:
        return Verdict(False, str(diagnosis))
    except (KeyError, TypeError, AttributeError):
        session.process.end()
        session.gone = True
        return Verdict(False, "your code sent the grader something that is no answer.")
    return exercise.check(answer)


def _calls_of_solution(exercise: Exercise) -> int:
    """How often the check calls a right answer; 0 where the solutions are left out, or the answer is a kernel."""
    module = f"{package.__name__}.solutions.{exercise.chapter}"
    if find_spec(f"{package.__name__}.solutions") is None or find_spec(module) is None:
        return 0
    solution = getattr(importlib.import_module(module), exercise.name)
    if not inspect.isfunction(solution):
        return 0
    counted = _Counted(solution)
    exercise.check(counted)
    return counted.calls


class _Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0
        self.__signature__ = inspect.signature(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.function(*args, **kwargs)
