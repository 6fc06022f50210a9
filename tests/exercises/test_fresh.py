"""Fresh numbers: a grader's check asks for other numbers than the one in the notebook."""

import importlib
import inspect
import pkgutil

import pytest
import torch

import megalodon_edu.exercises as package
from megalodon_edu.exercises.framework import exercises_of
from megalodon_edu.exercises.fresh import cases, fresh, generator, varied, varied_number
from megalodon_edu.exercises.probes import signal

KERNELS = {"chapter10"}  # a kernel returns nothing that could be written down
CHAPTERS = [
    name for _, name, _ in pkgutil.iter_modules(package.__path__) if name.startswith("chapter") and name not in KERNELS
]
EXERCISES = [
    exercise for name in CHAPTERS for exercise in exercises_of(importlib.import_module(f"{package.__name__}.{name}"))
]


def solution_of(exercise):
    return getattr(importlib.import_module(f"{package.__name__}.solutions.{exercise.chapter}"), exercise.name)


def like(function, body):
    """A function with the same signature and another body."""
    body.__signature__ = inspect.signature(function)
    return body


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: f"{exercise.chapter}-{exercise.name}")
def test_what_was_right_in_the_notebook_word_for_word_is_wrong_for_the_grader(exercise):
    solution, tape = solution_of(exercise), []

    def record(*args, **kwargs):
        tape.append(solution(*args, **kwargs))
        return tape[-1]

    assert exercise.check(like(solution, record)).passed is True
    for seed in range(3):
        numbers = iter([*tape, *tape, *tape])
        with fresh(seed):
            copied = exercise.check(like(solution, lambda *args, numbers=numbers, **kwargs: next(numbers)))
            assert copied.passed is not True, copied
            assert exercise.check(solution).passed is True


def test_outside_of_the_block_the_numbers_are_always_the_same():
    before = signal()
    with fresh(1):
        inside = signal()
        assert torch.equal(inside, signal())
        assert not torch.equal(inside, signal(seed=1))
    with fresh(2):
        assert not torch.equal(inside, signal())
    with fresh(1):
        assert torch.equal(inside, signal())
    assert torch.equal(before, signal())
    assert not torch.equal(before, inside)
    expected = torch.randn(3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.randn(3, generator=generator(5)), expected)


def test_varied_numbers_stay_near_and_cases_are_added():
    values = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    assert varied(values) is values and varied_number(0.25) == 0.25
    assert cases((1, 2), lambda numbers: numbers.randint(3, 9)) == [1, 2]
    with fresh(7):
        near = varied(values)
        assert torch.equal(near, varied(values)) and not torch.equal(near, values)
        assert ((near - values).abs() <= 0.1 * values.abs()).all()
        assert 0.225 <= varied_number(0.25) <= 0.275 and varied_number(0.25) != 0.25
        known, *others = cases((1,), lambda numbers: numbers.randint(3, 9))
        assert known == 1 and len(others) == 3 and all(3 <= other <= 9 for other in others)
