"""What an exercise is: a check that diagnoses, hints, and a solution that can be left out.

A chapter's module writes each exercise as one function. It receives the student's answer, returns nothing when all is
well, and raises `Diagnosis` with a sentence for the student otherwise:

    @exercise(success="Doubled.", hints=["What is 2 · 3?"])
    def double(answer):
        if answer(3) != 6:
            raise Diagnosis(f"double(3) should be 6, yours returns {answer(3)}.")
"""

import ast
import importlib.util
import inspect
import linecache
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from megalodon_edu.exercises.display import folded_html, sentence_html

WITHHELD = "The solutions are not part of this copy of the course; ask the person who gave it to you."


class Diagnosis(Exception):
    """A sentence that tells the student what is wrong with the answer."""


class NotYet(Exception):
    """The student has not answered yet."""


@dataclass(frozen=True)
class Verdict:
    """The result of a check: passed is True, False, or None while the stub is untouched."""

    passed: bool | None
    message: str

    @property
    def opening(self) -> str:
        """The word that the sentence opens with."""
        return {True: "Yes", None: "Not yet", False: "Look again"}[self.passed]

    def __repr__(self) -> str:
        return f"{self.opening}: {self.message}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": sentence_html(self.opening, self.message)}


@dataclass(frozen=True)
class Folded:
    """Titled texts that a notebook shows folded away and a terminal shows in full."""

    parts: tuple[tuple[str, str], ...]
    code: bool = False

    def __repr__(self) -> str:
        return "\n\n".join(f"{title}:\n{text}" if self.code else f"{title}: {text}" for title, text in self.parts)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        html = "".join(folded_html(title, text, self.code) for title, text in self.parts)
        return {"text/plain": repr(self), "text/html": html}


class Exercise:
    """One exercise of a chapter, made by the decorator `exercise`."""

    def __init__(self, examine: Callable[[Any], None], success: str, hints: Sequence[str]) -> None:
        if not hints:
            raise ValueError(f"hints of {examine.__name__} must hold at least one sentence, got none")
        self.name = examine.__name__
        self.chapter = examine.__module__.rpartition(".")[2]
        self.success = success
        self.hints = tuple(hints)
        self._examine = examine

    def check(self, answer: Any) -> Verdict:
        """Examine the student's answer; its exceptions become a diagnosis too."""
        try:
            if answer is None or answer is Ellipsis:
                raise NotYet
            self._examine(Answer(answer) if callable(answer) else answer)
        except NotYet as reason:
            unwritten = f"`{self.name}` is still to be written. Fill in its cell and run this one again."
            return Verdict(None, str(reason) or unwritten)
        except Diagnosis as diagnosis:
            return Verdict(False, str(diagnosis))
        except Exception as error:
            line = _student_line(error, answer, self._examine)
            # Torch raises NotImplementedError too: only a line that says so itself is a stub.
            if isinstance(error, NotImplementedError) and line is not None and "NotImplementedError" in line[1]:
                return self.check(None)
            if not callable(answer) and "not callable" in str(error):
                got = kind_of(answer)
                return Verdict(False, f"hand the function itself to the check, without calling it; it got {got}.")
            return Verdict(False, _describe(error, line))
        return Verdict(True, self.success)

    def hint(self) -> Folded:
        """The hints, from a nudge to nearly the answer, each folded on its own."""
        return Folded(tuple((f"Hint {number}", hint) for number, hint in enumerate(self.hints, 1)))

    def solution(self) -> Folded | Verdict:
        """The source of the solution, folded; one sentence where the solutions have been left out."""
        source = _source_of(f"{__package__}.solutions.{self.chapter}", self.name)
        if source is None:
            return Folded(((f"Solution of {self.name}", WITHHELD),))
        return Folded(((f"Solution of {self.name}", source),), code=True)

    def __repr__(self) -> str:
        return f"Exercise {self.name}: .check(your answer), .hint(), .solution()"


def exercise(success: str, hints: Sequence[str]) -> Callable[[Callable[[Any], None]], Exercise]:
    """Turn a check into an exercise of the same name. `success` is the sentence after "Yes:"."""
    return lambda examine: Exercise(examine, success, hints)


class Answer:
    """The student's function as the checks see it: nothing returned means "not yet", changed arguments are noticed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the student's function on copies, so that what it does to its arguments cannot spoil the check."""
        given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        passed = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in given}
        self._require_signature(args, kwargs)
        result = self.function(*(passed[key] for key in range(len(args))), **{key: passed[key] for key in kwargs})
        if _is_nothing(result):
            raise NotYet("your function returns nothing. If you have written it, let it end with a `return`.")
        for key, value in given:
            if isinstance(value, torch.Tensor) and not torch.equal(value, passed[key]):
                raise Diagnosis(
                    f"your code changes its argument {self._argument(key)} in place, so whoever called it finds "
                    "other numbers there afterwards. Write into a new tensor, or start from a .clone()."
                )
        return result

    def _require_signature(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise Diagnosis where the function does not take the arguments that the check hands over."""
        try:
            inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            raise Diagnosis(
                f"your function cannot be called with the arguments of the stub ({error}). Keep the stub's first line."
            ) from None

    def _argument(self, key: int | str) -> str:
        """The argument's name; positions are looked up in the signature."""
        names = list(inspect.signature(self.function).parameters)
        return f"`{names[key] if isinstance(key, int) and key < len(names) else key}`"


@dataclass(frozen=True)
class Mutant:
    """A plausible wrong answer to the exercise `of`; the verdict must contain `says`."""

    of: str
    says: str
    name: str
    answer: Any


def mutant(of: str, says: str) -> Callable[[Any], Mutant]:
    """Turn a function into a wrong answer to the exercise `of`, caught by a message that contains `says`."""
    return lambda answer: Mutant(of, says, answer.__name__, answer)


def exercises_of(chapter: ModuleType) -> list[Exercise]:
    """The exercises that a chapter's module defines, in order."""
    return [value for value in vars(chapter).values() if isinstance(value, Exercise)]


def mutants_of(module: ModuleType) -> list[Mutant]:
    """The mutants that a module defines, in order."""
    return [value for value in vars(module).values() if isinstance(value, Mutant)]


def kind_of(value: Any) -> str:
    """The type of a value with its article: "a list", "an int", "None"."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _is_nothing(result: Any) -> bool:
    if isinstance(result, tuple):
        return all(part is None or part is Ellipsis for part in result)
    return result is None or result is Ellipsis


def _source_of(module: str, name: str) -> str | None:
    """The source of one top-level definition, read without running the module; None where the module is missing."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    with open(spec.origin, encoding="utf-8") as file:
        source = file.read()
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if name in (getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)):
            return ast.get_source_segment(source, node)
    raise LookupError(f"{module} holds no solution named {name}")


def _student_line(error: Exception, answer: Any, examine: Callable[[Any], None]) -> tuple[int, str] | None:
    """Number and text of the innermost line of the student's own code, None where the error arose elsewhere.

    The cells of one notebook, or the files of one folder, count as the student's; the check itself does not.
    """
    functions = [answer, *vars(answer).values()] if inspect.isclass(answer) else [answer]
    codes = [inspect.unwrap(function).__code__ for function in functions if hasattr(function, "__code__")]
    folders = {os.path.dirname(code.co_filename) for code in codes}
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        if os.path.dirname(frame.f_code.co_filename) in folders and frame.f_code is not examine.__code__:
            return number, linecache.getline(frame.f_code.co_filename, number).strip()
    return None


def _describe(error: Exception, line: tuple[int, str] | None) -> str:
    """One sentence: type, message and line of an exception."""
    message = str(error).strip().partition("\n")[0]
    what = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if line is None:
        return f"the check could not use what your code returned ({what}). Does it return what the exercise asks for?"
    return f"your code stopped with {what}, in line {line[0]}: `{line[1]}`"
