"""The table of errors, with faces that are right and faces that are wrong in one tensor."""

import pytest
import torch

from megalodon_edu.measure import error_cases, kernel_errors
from megalodon_edu.measure.error_cases import NO_PAST, PLANS, SLOW_LIMIT, ErrorCase, Plan

CPU = torch.device("cpu")
TINY = Plan(((2, 1, 8), (2, 9, 8), (1, 13, 12)), (1, 40, 2), modes=2, chunk=13, held=3, vocabulary=11)
CASES = list(error_cases.error_cases(TINY, CPU, torch.float32))


def square(x, weight):
    return (x * x * weight,)


def rows(monkeypatch, kernel, truth=square, dtype=torch.float32, repeats=1, **changes):
    def inputs():
        draw = torch.Generator().manual_seed(0)
        return {"x": torch.randn(3, 4, generator=draw).to(dtype), "weight": torch.randn(4, generator=draw)}

    case = ErrorCase("squares", (3, 4), NO_PAST, inputs, lambda: kernel, truth, ("y",))._replace(**changes)
    monkeypatch.setattr(kernel_errors, "error_cases", lambda *_: iter([case]))
    return list(kernel_errors.kernel_errors(TINY, CPU, [dtype], repeats))


def test_a_right_face_is_within_its_limit(monkeypatch):
    (row,) = rows(monkeypatch, square)
    assert row["within"] and row["same_bits"] and row["limit"] == 1e-5
    assert row["errors"].keys() == {"y", "dx", "dweight"} and 0 < max(row["errors"].values()) < 1e-6
    assert (row["work"], row["dtype"], row["shape"], row["past"]) == ("squares", "float32", (3, 4), "none")


def test_a_wrong_gradient_is_named_with_its_error(monkeypatch):
    def wrong(x, weight):
        return (x * x * (1.001 * weight - 0.001 * weight.detach()),)

    (row,) = rows(monkeypatch, wrong)
    assert not row["within"] and row["same_bits"]
    assert row["worst"] == "dweight" and row["errors"]["dweight"] == pytest.approx(1e-3, rel=1e-3)
    assert row["errors"]["y"] < 1e-6 and row["errors"]["dx"] < 1e-6


def test_the_limit_is_that_of_the_type_or_of_the_case(monkeypatch):
    def coarse(x, weight):
        return (x * x * weight * 1.001,)

    assert not rows(monkeypatch, coarse)[0]["within"]
    assert rows(monkeypatch, coarse, limit=2e-3)[0]["within"]
    (row,) = rows(monkeypatch, lambda x, weight: tuple(t.bfloat16() for t in coarse(x, weight)), dtype=torch.bfloat16)
    assert row["within"] and row["limit"] == 1e-2 and row["dtype"] == "bfloat16" and row["errors"]["y"] > 1e-4


def test_other_bits_in_a_later_run_are_seen(monkeypatch):
    class Restless:
        runs = 0

        def __call__(self, x, weight):
            self.runs += 1
            return (x * x * weight + (1e-6 if self.runs == 3 else 0.0),)

    assert rows(monkeypatch, Restless())[0]["within"]
    (row,) = rows(monkeypatch, Restless(), repeats=2)
    assert not row["same_bits"] and not row["within"] and max(row["errors"].values()) < 1e-5


def test_what_is_not_finite_is_no_number_and_above_the_limit(monkeypatch):
    (row,) = rows(monkeypatch, lambda x, weight: (x * x * weight * torch.nan,))
    assert not row["within"] and row["worst"] == "y" and row["errors"]["y"] is None


@pytest.mark.parametrize(
    ("kernel", "note"),
    [
        (lambda x, weight: ((x * x * weight)[:1],), "found must have the shape of the truth (3, 4), got (1, 4)"),
        (lambda x, weight: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_case_that_fails_is_a_row_that_says_why(monkeypatch, kernel, note):
    (row,) = rows(monkeypatch, kernel)
    assert not row["within"] and row["worst"] is None and note in row["note"]


def test_a_truth_of_zeros_is_compared_by_size():
    zeros = torch.zeros(4, dtype=torch.float64)
    assert kernel_errors.relative_error(torch.full((4,), 1e-7), zeros) == pytest.approx(1e-7)
    assert kernel_errors.relative_error(torch.full((4,), 1e-7), zeros + 1e-17) == pytest.approx(1e-7)
    assert kernel_errors.relative_error(torch.ones(2, 0), torch.ones(2, 0)) == 0.0
    assert kernel_errors.relative_error(torch.full((4,), 1.5e-9), zeros + 1e-9) == pytest.approx(0.5)


def test_runs_that_are_compared_must_be_one_or_more():
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        list(kernel_errors.kernel_errors(TINY, CPU, [torch.float32], 0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.work} {case.shape} {case.past}")
def test_the_truth_takes_the_inputs_of_the_kernel(monkeypatch, case):
    """In float32 it is near itself in float64, and with gradients there is one for every number that it is given."""
    monkeypatch.setattr(kernel_errors, "error_cases", lambda *_: iter([case._replace(kernel=lambda: case.truth)]))
    (row,) = kernel_errors.kernel_errors(TINY, CPU, [torch.float32])
    assert "note" not in row and max(row["errors"].values()) < 1e-4
    numbers = {name for name, value in case.inputs().items() if value.is_floating_point() or value.is_complex()}
    assert row["errors"].keys() == {*case.outputs, *(f"d{name}" for name in numbers if case.trains)}


@pytest.mark.parametrize("number", [number for number, case in enumerate(CASES) if case.trains and case.shape[1] > 1])
def test_the_loop_and_the_face_for_all_steps_are_one_truth(monkeypatch, number):
    found = []
    for loop in (0, 100):
        monkeypatch.setattr(error_cases, "LOOP", loop)
        case = list(error_cases.error_cases(TINY, CPU, torch.float32))[number]
        wide = {name: kernel_errors._wide(value) for name, value in case.inputs().items()}
        found.append(kernel_errors._tensors(case, case.truth, wide))
    for name, tensor in found[0].items():
        assert kernel_errors.relative_error(tensor, found[1][name]) < 1e-10, name


def test_every_operator_is_there_with_and_without_a_past():
    for plan in PLANS.values():
        cases = list(error_cases.error_cases(plan, CPU, torch.float32))
        for work, other in (("Timestep Norm", "given"), ("CEMA", "given"), ("chunk attention", f"{plan.held} tokens")):
            for batch, time, _ in plan.sequences:
                pasts = [case.past for case in cases if case.work == work and case.shape[:2] == (batch, time)]
                assert {"none", other} <= {*pasts}
        assert [case.past for case in cases].count("given, padding") == 1
        assert {case.work for case in cases} >= {"head + cross-entropy", "RMSNorm", "LayerNorm", "CEMA layer"}
        (slow,) = [case for case in cases if case.work == "CEMA, long memory"]
        inputs = slow.inputs()
        assert slow.limit == SLOW_LIMIT and (inputs["alpha"] * inputs["delta"] - 1e-4).abs().max() < 1e-18
        assert not any(c.work == slow.work for c in error_cases.error_cases(plan, CPU, torch.bfloat16))
    assert [shape[1] for shape in PLANS["full"].sequences] == [1, 15, 37, 333, 1000, 4095, 16_384, 65_536]
