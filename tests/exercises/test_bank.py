"""Every chapter's exercises: solutions pass, stubs are "not yet", every wrong answer gets its own diagnosis."""

import importlib
import pkgutil
import sys
from importlib.util import find_spec

import pytest

import megalodon_edu.exercises as package
from megalodon_edu.exercises.framework import WITHHELD, exercises_of, mutants_of

KERNELS = {"chapter10"}  # their exercises are kernels, and Triton is there for Linux only
CHAPTERS = [
    name
    for _, name, _ in pkgutil.iter_modules(package.__path__)
    if name.startswith("chapter") and (name not in KERNELS or find_spec("triton"))
]


def load(kind, chapter):
    return importlib.import_module(".".join(filter(None, ["megalodon_edu.exercises", kind, chapter])))


EXERCISES = [exercise for chapter in CHAPTERS for exercise in exercises_of(load("", chapter))]
MUTANTS = [(chapter, mutant) for chapter in CHAPTERS for mutant in mutants_of(load("mutants", chapter))]
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS)
each_exercise = pytest.mark.parametrize(
    "exercise", EXERCISES, ids=lambda exercise: f"{exercise.chapter}-{exercise.name}"
)


def empty_stub(*args, **kwargs):
    raise NotImplementedError


@each_chapter
def test_a_chapter_has_at_least_three_exercises(chapter):
    assert len(exercises_of(load("", chapter))) >= 3


@each_exercise
def test_the_solution_passes(exercise):
    verdict = exercise.check(getattr(load("solutions", exercise.chapter), exercise.name))
    assert verdict.passed is True, verdict


@each_exercise
@pytest.mark.parametrize("stub", [empty_stub, lambda *args, **kwargs: None, lambda *args, **kwargs: ..., None, ...])
def test_a_stub_is_not_yet(exercise, stub):
    verdict = exercise.check(stub)
    assert verdict.passed is None
    assert repr(verdict).startswith("Not yet: ")


@each_exercise
def test_hints_are_sentences(exercise):
    assert exercise.hints
    assert all(hint[-1] in ".?!`" for hint in exercise.hints), exercise.hints


@pytest.mark.parametrize(("chapter", "mutant"), MUTANTS, ids=[f"{chapter}-{m.of}-{m.name}" for chapter, m in MUTANTS])
def test_a_wrong_answer_is_diagnosed(chapter, mutant):
    verdict = getattr(load("", chapter), mutant.of).check(mutant.answer)
    assert verdict.passed is False, verdict
    assert mutant.says in verdict.message


@each_exercise
def test_no_two_wrong_answers_get_the_same_message(exercise):
    mutants = [mutant for chapter, mutant in MUTANTS if (chapter, mutant.of) == (exercise.chapter, exercise.name)]
    assert mutants, f"{exercise.name} of {exercise.chapter} has no mutant: nothing shows that its check can fail"
    messages = {mutant.name: exercise.check(mutant.answer).message for mutant in mutants}
    assert len(set(messages.values())) == len(messages), messages


@each_chapter
def test_checks_work_without_solutions_and_mutants(chapter, monkeypatch):
    solutions = load("solutions", chapter)
    for name in [name for name in sys.modules if name.startswith("megalodon_edu.exercises")]:
        monkeypatch.delitem(sys.modules, name)
    for folder in ("solutions", "mutants"):
        monkeypatch.setitem(sys.modules, f"megalodon_edu.exercises.{folder}", None)
    for exercise in [e for e in vars(load("", chapter)).values() if type(e).__name__ == "Exercise"]:
        assert exercise.check(getattr(solutions, exercise.name)).passed is True
        assert WITHHELD in repr(exercise.solution())


@each_exercise
def test_the_solution_can_be_revealed(exercise):
    shown = exercise.solution()._repr_mimebundle_()
    assert exercise.name in shown["text/plain"]
    assert shown["text/html"].startswith("<details>")
