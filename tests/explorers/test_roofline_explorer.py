import numpy as np
import pytest

from megalodon_edu.explorers import RooflineExplorer
from megalodon_edu.explorers.roofline import MEASURED, ON_PAPER
from megalodon_edu.measure.ladder import CEMA_RUNGS, Case, count, recorded


def test_it_counts_what_the_ladder_counts():
    explorer = RooflineExplorer(batch=2, length=1024, channels=64, modes=4, chunk=32, segment=256, device="L4")
    values = explorer.values()
    for index, rung in enumerate(CEMA_RUNGS):
        one = count(rung, Case(2, 1024, 64, 2, 4, 32, 256))
        assert values["moved"][index] == one.moved / 1e6 and values["programs"][index] == one.programs
        assert values["floor"][index] == pytest.approx(1e3 * ON_PAPER["L4"].floor(one))


def test_a_segment_is_no_longer_than_the_sequence():
    explorer = RooflineExplorer(length=1024, segment=65_536)
    assert explorer.case().segment == 1024
    tiles = CEMA_RUNGS.index("channel tiles")
    assert explorer.values()["moved"][tiles] == 2 * explorer.case().values * 2 / 1e6  # nothing to join


def test_recorded_times_stand_where_they_were_taken_and_nowhere_else():
    shown = RooflineExplorer().values()["recorded"]
    times = {t.rung: t.milliseconds for t in recorded().times if (t.operator, t.shape) == ("CEMA", (8, 4096, 1024))}
    assert shown.tolist() == [times[rung] for rung in CEMA_RUNGS]
    assert (RooflineExplorer(batch=2, length=16_384).values()["recorded"] > 0).all()
    for other in (
        {"device": "H100 SXM"}, {"precision": "float32 (4 bytes)"}, {"modes": 8}, {"chunk": 32}, {"segment": 1024},
        {"batch": 4},
    ):  # fmt: skip
        assert (RooflineExplorer(**other).values()["recorded"] == 0).all(), other


def test_no_recorded_time_is_below_its_floor():
    values = RooflineExplorer(device=MEASURED).values()
    assert (values["recorded"] > values["floor"]).all()


def test_no_rung_is_above_the_roof():
    for name, device in ON_PAPER.items():
        explorer = RooflineExplorer(device=name)
        roof = np.minimum(explorer.values()["intensity"] * device.bytes_per_second, device.tensor) / 1e12
        assert (explorer.values()["reach"] <= roof * (1 + 1e-12)).all()


def test_a_longer_chunk_costs_operations_and_no_bytes():
    short, long = RooflineExplorer(chunk=16).values(), RooflineExplorer(chunk=128).values()
    tiles = CEMA_RUNGS.index("channel tiles")
    assert long["operations"][tiles] > 1.5 * short["operations"][tiles]
    assert long["moved"][tiles] == short["moved"][tiles]
