"""Checks and answers in two processes say what they say in one: for solutions, stubs and wrong answers."""

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from megalodon_edu.classroom.grading import chapters, exercises
from megalodon_edu.exercises.framework import Diagnosis, mutants_of

# What can go wrong on the way: classes and functions as arguments, states, gradients, models, kernels.
TELLING = ["04", "05", "07", "08", "09", "12"]


def module(kind, chapter):
    return importlib.import_module(f"megalodon_edu.exercises.{kind}.chapter{chapter}")


def source_of(kind, chapter):
    return Path(module(kind, chapter).__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("chapter", [name for name in chapters() if name != "10" or find_spec("triton")])
def test_solutions_pass_through_the_boundary(chapter, load):
    session = load(["x", source_of("solutions", chapter), True])
    for exercise in exercises(chapter):
        verdict = exercise.check(session().answer(exercise.name))
        assert verdict.passed is True, (exercise.name, verdict)


@pytest.mark.parametrize("chapter", [name for name in TELLING if name in chapters()])
def test_wrong_answers_get_the_same_diagnosis_through_the_boundary(chapter, load):
    names = [name for name in vars(module("solutions", chapter)) if not name.startswith("_")]
    glue = "import types\nsolutions = types.SimpleNamespace(**{name: globals()[name] for name in NAMES})\n"
    glue += "def mutant(of, says):\n    def mark(f):\n        f.answer = f\n        return f\n    return mark\n"
    wrong = re.sub(r"^from megalodon_edu\.exercises.*$", "", source_of("mutants", chapter), flags=re.MULTILINE)
    glue = glue.replace("in NAMES", f"in {names!r} if [{', '.join(names)}]")  # names them, so that they are taken along
    session = load(["x", source_of("solutions", chapter), True], ["y", glue, True], ["z", wrong, True])
    by_name = {exercise.name: exercise for exercise in exercises(chapter)}
    for mutant in mutants_of(module("mutants", chapter)):
        verdict = by_name[mutant.of].check(session().answer(mutant.name))
        assert verdict.passed is False and mutant.says in verdict.message, (mutant.name, verdict)


@pytest.mark.skipif(find_spec("triton") is None, reason="kernels need Triton")
def test_wrong_kernels_get_the_same_diagnosis_through_the_boundary(load):
    import linecache

    head = "import triton\nimport triton.language as tl\n"
    by_name = {exercise.name: exercise for exercise in exercises("10")}
    for mutant in mutants_of(module("mutants", "10")):
        source = "".join(linecache.cache[f"<mutant {mutant.name} of {mutant.of}>"][2])
        verdict = by_name[mutant.of].check(load(["x", head + source, True])().answer(mutant.of))
        assert verdict.passed is False and mutant.says in verdict.message, (mutant.name, verdict)


def test_every_kind_of_value_comes_back_as_it_was(inside):
    values = [
        None, ..., True, -3, 2**80, 0.1, float("inf"), 1 - 2j, "text", (), [1, (2, [None])], {"a": {"b": 1}},
        torch.float16, torch.arange(6).reshape(2, 3).T, torch.zeros(0, 3), torch.tensor(2.5),
        torch.tensor([True, False]), torch.tensor([1 + 2j]).conj(), torch.ones(2, dtype=torch.bfloat16),
    ]  # fmt: skip
    for value in values:
        back = inside("return args[0], 0", value)[0]
        assert type(back) is type(value)
        if isinstance(value, torch.Tensor):
            assert back.dtype == value.dtype and back.shape == value.shape and torch.equal(back, value.resolve_conj())
        else:
            assert back == value


def test_objects_of_the_student_stay_there_and_come_home(load):
    source = """
from collections import namedtuple
State = namedtuple("State", "count mean")
class Memory:
    def __init__(self): self.seen = 0
    def __eq__(self, other): return True
def probe(state):
    if state is None:
        return State(1, Memory())
    return state.count, state.mean.seen, type(state).__name__
"""
    probe = load(["x", source, True])().answer("probe")
    state = probe(None)
    assert isinstance(state, tuple) and state[0] == 1
    assert type(state[1]).__name__ == "Memory" and state[1] != 1
    assert probe(state) == (1, 0, "State")


def test_changed_arguments_are_noticed_here(load):
    probe = load(["x", "def probe(x, y):\n    y.mul_(2)\n    return x", True])().answer("probe")
    x, y = torch.ones(2), torch.ones(2)
    probe(x, y=y)
    assert x.tolist() == [1, 1] and y.tolist() == [2, 2]


def test_gradients_pass_through_functions_that_stay_here(load):
    source = """
import torch
def probe(function, x, how):
    if how == "grad":
        x = x.clone().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]
    if how == "jacrev":
        return torch.func.jacrev(function)(x)
    return torch.autograd.functional.jacobian(function, x)
"""
    probe = load(["x", source, True])().answer("probe")
    matrix, x = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, dtype=torch.float64)

    def function(x):
        return torch.tanh(x @ matrix)

    jacobian = torch.autograd.functional.jacobian(function, x)
    assert torch.allclose(probe(function, x, "grad"), jacobian.sum(0))
    assert torch.allclose(probe(function, x, "jacrev"), jacobian)
    assert torch.allclose(probe(function, x, "jacobian"), jacobian)


def test_a_refusal_of_a_function_here_is_the_verdict_whatever_the_answer_makes_of_it(load):
    def refuses(x):
        raise Diagnosis("not with me.")

    probe = load(
        ["x", "def probe(f):\n    try:\n        f(1)\n    except Exception:\n        return 1", True]
    )().answer("probe")
    with pytest.raises(Diagnosis, match="not with me"):
        probe(refuses)


def test_an_exception_names_the_line_of_the_cell(load):
    session = load(["x", "import torch\n\n\ndef probe(x):\n    return torch.cat([x, x[None]])", True])
    with pytest.raises(Diagnosis, match=r"RuntimeError: .*in line 5: `return torch.cat"):
        session().answer("probe")(torch.ones(2))
    with pytest.raises(Diagnosis, match=r"SystemExit: 3, in line 2: `raise SystemExit"):
        load(["x", "def probe():\n    raise SystemExit(3)", True])().answer("probe")()


def test_functions_here_are_not_kept_busy(load):
    source = "import torch\ndef probe(f, n):\n    return f(torch.zeros(n))"
    probe = load(["x", source, True])().answer("probe")
    assert probe(torch.sum, 1000) == 0
    with pytest.raises(Diagnosis, match="hands more than 100,000 numbers"):
        probe(torch.sum, 300_000)
