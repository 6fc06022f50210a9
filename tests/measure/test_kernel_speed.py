import pytest
import torch

from megalodon_edu.measure import kernel_speed as table
from megalodon_edu.measure.device_floor import Rates
from megalodon_edu.measure.failed import why_it_failed
from megalodon_edu.measure.kernel_speed import kernel_speed
from megalodon_edu.measure.operator_cases import (
    BOTH,
    FORWARD,
    SHAPES,
    Case,
    Shapes,
    least_bytes,
    operator_cases,
)

CPU = torch.device("cpu")
TINY = Shapes(((1, 6), (2, 3)), channels=4, modes=2, groups=2, chunk=4, key=2, value=6, vocabulary=8)
RATES = Rates(bytes_per_second=100.0, flops_per_second=10.0)


class Machine:
    """Faces that take a time of their own on a clock that only they move."""

    def __init__(self):
        self.now = 0.0

    def face(self, cost):
        def face(x):
            self.now += cost
            return x * 2

        return face

    def case(self, kernel, what=FORWARD, flops=0):
        x = torch.ones(5)
        return Case("doubling", (5,), lambda: [x], self.face(3.0), kernel, (5,), {what: flops})

    def rows(self, monkeypatch, case, faces=("triton", "torch")):
        monkeypatch.setattr(table, "operator_cases", lambda *_: iter([case]))
        return list(kernel_speed(TINY, CPU, torch.float32, RATES, faces, repeats=2, clock=lambda: self.now))


@pytest.fixture
def machine():
    return Machine()


def test_a_row_holds_times_ratios_and_bytes(machine, monkeypatch):
    (row,) = machine.rows(monkeypatch, machine.case(lambda: machine.face(1.5)))
    assert row["seconds"] == {"triton": 1.5, "torch": 3.0} and row["ratio"] == 2.0
    assert row["floor"] == {"seconds": 40 / 100, "bound": "bytes", "bytes": 40, "flops": 0}
    assert row["over_floor"] == pytest.approx(1.5 / 0.4)
    assert row["peak_bytes"] == {"triton": 20, "torch": 20} and row["notes"] == {}


def test_products_may_be_the_floor_and_gradients_are_counted(machine, monkeypatch):
    (row,) = machine.rows(monkeypatch, machine.case(lambda: machine.face(1.0), BOTH, flops=90))
    assert row["floor"] == {"seconds": 9.0, "bound": "flops", "bytes": 5 * 20, "flops": 90}


def test_without_a_kernel_the_peers_are_still_measured(machine, monkeypatch):
    def missing():
        raise ImportError("Triton is not here\nat all")

    (row,) = machine.rows(monkeypatch, machine.case(missing))
    assert row["seconds"] == {"torch": 3.0} and row["notes"] == {"triton": "ImportError: Triton is not here"}
    assert row["ratio"] is None and row["over_floor"] is None


def test_what_does_not_compile_or_fit_is_said(machine, monkeypatch):
    def compile_nothing(face, dynamic):
        raise NotImplementedError("complex numbers")

    def no_room():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    monkeypatch.setattr(torch, "compile", compile_nothing)
    (row,) = machine.rows(monkeypatch, machine.case(no_room), ("triton", "torch", "compiled"))
    assert row["notes"] == {
        "triton": "out of memory",
        "compiled": "does not compile (NotImplementedError: complex numbers)",
    }


def test_ctrl_c_is_no_note(machine, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.rows(monkeypatch, machine.case(interrupted))


def test_every_operator_has_a_case_whose_torch_face_runs_both_ways(monkeypatch):
    rows = list(kernel_speed(TINY, CPU, torch.float32, RATES, ("torch",), repeats=1))
    assert all(row["seconds"]["torch"] > 0 and not row["notes"] for row in rows)
    assert [(row["work"], row["what"]) for row in rows] == [
        *[("Timestep Norm", FORWARD), ("Timestep Norm", BOTH)] * 2,
        *[("CEMA", FORWARD), ("CEMA", BOTH)] * 2,
        *[("CEMA layer", BOTH)] * 2,
        *[("chunk attention", FORWARD), ("chunk attention", BOTH)],
        ("head + cross-entropy", BOTH),
        *[("RMSNorm", FORWARD), ("RMSNorm", BOTH), ("LayerNorm", FORWARD), ("LayerNorm", BOTH)],
    ]


def test_the_floors_of_the_full_shapes_by_hand():
    cases = {(c.work, c.shape): c for c in operator_cases(SHAPES["full"], CPU, torch.bfloat16)}
    values = 8 * 4096 * 1024
    assert cases["CEMA", (8, 4096, 1024)].flops == {FORWARD: 160 * values, BOTH: 480 * values}
    pairs = 16 * 2048 * 2049 // 2  # 16 chunks
    attention = cases["chunk attention", (8, 4096, 256, 2048)].flops
    assert attention[FORWARD] == 2 * pairs * (256 + 2048)
    assert attention[BOTH] == 3 * attention[FORWARD] + 2 * pairs * 256
    assert cases["head + cross-entropy", (32768, 1024, 32000)].flops == {BOTH: 6 * 32768 * 1024 * 32000}


def test_least_bytes_read_inputs_and_write_outputs_once():
    inputs = [torch.zeros(10), torch.zeros(3, dtype=torch.complex128), torch.zeros(2, dtype=torch.int64)]
    given = 40 + 48 + 16
    assert least_bytes(inputs, 7, FORWARD) == given + 7
    assert least_bytes(inputs, 7, BOTH) == 2 * (given + 7) + 40 + 48


def test_an_error_without_words_has_a_name():
    assert why_it_failed(RuntimeError()) == "RuntimeError: no message"
