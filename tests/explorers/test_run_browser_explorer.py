import json
import math

import numpy as np
import pytest

from megalodon_edu.explorers import RunBrowserExplorer
from megalodon_edu.explorers.recorded_runs import recorded_runs
from megalodon_edu.explorers.run_browser import MOST_POINTS, MOST_VARIANTS, POINTS
from megalodon_edu.recordings import recording
from megalodon_edu.training.curves import smoothed, training_curve
from megalodon_edu.training.log import LogRow, read_log

LOGS = {name: recording(name).folder / "log.csv" for name in ("bookworm", "tiny_cpu")}


def log(level, steps=40, tokens=100, every=10):
    """A loss of `level` bits at every step, a bit more on validation."""
    return [
        LogRow(n, tokens * n, 0.5 * n, level * math.log(2), 1e-3, 1.0, level + 1 if n % every == 0 else None)
        for n in range(1, steps + 1)
    ]


def seeds(*levels):
    runs = {f"full, seed {seed}": log(level) for seed, level in enumerate(levels)}
    return runs, dict.fromkeys(runs, "full")


def test_it_shows_recorded_runs_smoothed():
    explorer = RunBrowserExplorer(curve="training", half_life=30, log_x=False)
    values = explorer.values()
    first = values["median"][: values["counts"][0]]
    rows = read_log(LOGS["bookworm"])
    curve = training_curve(rows, POINTS)
    np.testing.assert_allclose(first, smoothed(curve.bits, curve.steps, 30), atol=1e-4)
    assert values["x"][values["counts"][0] - 1] == rows[-1].tokens


def test_a_page_stays_small():
    constants = RunBrowserExplorer().constants
    assert all(len(run[kind]["bits"]) <= POINTS for run in constants["runs"] for kind in ("training", "validation"))
    for about in constants["collections"].values():
        runs = [run for run in constants["runs"] if run["variant"] in about["variants"]]
        assert sum(len(run["training"]["bits"]) for run in runs) <= MOST_POINTS
    assert len(json.dumps(constants)) < 200_000


@pytest.mark.parametrize("collection", recorded_runs())
def test_a_collection_shows_its_own_variants_and_no_others(collection):
    explorer = RunBrowserExplorer(collection=collection)
    variants = list(dict.fromkeys(recorded_runs()[collection].variants.values()))
    assert list(dict.fromkeys(line.variant for line in explorer.lines())) == variants
    assert explorer.constants["collections"][collection]["variants"] == variants
    assert f"for {', '.join(variants)}." in explorer.description()


def test_what_is_ticked_in_one_collection_leaves_the_others_alone():
    explorer = RunBrowserExplorer(curve="training")
    explorer.shown = [name for name in explorer.shown if name != "Transformer"]
    assert {line.variant for line in explorer.lines()} == {"bookworm", "librarian", "tiny_cpu"}
    explorer.collection = "Megalodon against the Transformer"
    assert [line.variant for line in explorer.lines()] == ["Megalodon"]


def test_seconds_are_not_an_axis_where_runs_shared_a_machine():
    for name, collection in recorded_runs().items():
        explorer = RunBrowserExplorer(collection=name, against="seconds")
        assert explorer.axis == ("seconds" if collection.timed else "bytes read")
        assert f"against {explorer.axis}" in explorer.description()
        columns = next(run for run in explorer.constants["runs"] if run["label"] in collection.logs)["training"]
        assert ("seconds" in columns) == collection.timed
    assert {name for name, one in recorded_runs().items() if not one.timed} == {
        "librarian beside a Transformer",
        "one part changed at a time",
        "learning rates tried",
    }


def test_colours_repeat_only_between_a_solid_and_a_dashed_line():
    looks = RunBrowserExplorer().constants["looks"]
    for about in RunBrowserExplorer().constants["collections"].values():
        assert len({tuple(looks[name].values()) for name in about["variants"]}) == len(about["variants"])
    rates = [name.split()[1] for name in looks if name.startswith("Megalodon 0")]
    for rate in rates:
        ours, theirs = looks[f"Megalodon {rate}"], looks[f"Transformer {rate}"]
        assert ours == {**theirs, "dashed": False} and theirs["dashed"]


def test_a_value_is_read_between_two_points_and_only_where_a_run_is():
    runs = {"short": log(3, steps=20), "long": [*log(2, steps=20), LogRow(40, 4000, 20, math.log(2), 0, 0, None)]}
    explorer = RunBrowserExplorer(runs, curve="training", half_life=0, log_x=False, place=0.75)
    ((line, median, low, high),) = explorer.readings()
    assert explorer.position() == 3000 and line.label == "long"
    assert median == low == high == pytest.approx(1.5)
    np.testing.assert_allclose(explorer.values()["here"], [[0, 0, 0], [1.5, 1.5, 1.5]])


def test_seeds_of_a_variant_are_one_band():
    runs, variants = seeds(2, 5, 3)
    explorer = RunBrowserExplorer(runs, variants, log_x=False, place=0.5)
    assert explorer.shown == ["full"]
    training, validation = explorer.readings()
    assert training[1:] == pytest.approx((3, 2, 5)) and validation[1:] == pytest.approx((4, 3, 6))
    explorer.grouped = False
    assert [line.label for line in explorer.lines() if line.kind == "training"] == list(runs)


def test_the_start_can_be_left_out():
    explorer = RunBrowserExplorer({"a": log(2, steps=200)}, start=0.5, log_x=False)
    begin, end, *_ = explorer.domain()
    assert (begin, end) == (10_000, 20_000) and explorer.values()["x"].min() == 10_000


def test_axes_hold_all_that_is_drawn():
    for settings in ({"log_y": True}, {"start": 0.3}, {"against": "seconds", "log_x": False}, {"shown": ["tiny_cpu"]}):
        values = RunBrowserExplorer(**settings).values()
        begin, end, low, high = values["domain"]
        assert begin <= values["x"].min() and values["x"].max() <= end
        assert low < values["low"].min() and values["high"].max() < high
        axes = RunBrowserExplorer(**settings).figure().axes[0]
        np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], values["domain"])


def test_seconds_are_another_axis_for_the_same_losses():
    read, timed = RunBrowserExplorer(), RunBrowserExplorer(against="seconds")
    np.testing.assert_array_equal(read.values()["median"], timed.values()["median"])
    assert timed.domain()[1] == pytest.approx(read_log(LOGS["tiny_cpu"])[-1].seconds, abs=1e-3)


def test_validation_is_not_smoothed():
    looks = RunBrowserExplorer(curve="validation", half_life=200, shown=["tiny_cpu"]).values()["median"]
    wanted = [row.validation_bits_per_byte for row in read_log(LOGS["tiny_cpu"])]
    np.testing.assert_allclose(looks, [look for look in wanted if look is not None], atol=1e-4)


def test_runs_without_looks_leave_an_empty_picture_and_say_so():
    explorer = RunBrowserExplorer({"a": log(2, every=1000)}, curve="validation")
    assert explorer.values()["counts"].size == 0 and "no run has a value there" in explorer.description()
    explorer.figure()


def test_runs_are_shown_in_their_own_order():
    explorer = RunBrowserExplorer({"a": log(1), "b": log(2), "c": log(3)}, shown=["c", "a"])
    assert explorer.shown == ["a", "c"]
    with pytest.raises(ValueError, match="shown must be a list of at least one of a, b, c, got \\[\\]"):
        explorer.shown = []
    with pytest.raises(ValueError, match="shown must be one of a, b, c, got 'd'"):
        explorer.shown = ["d"]


@pytest.mark.parametrize(
    "runs, variants, message",
    [
        ({}, None, "runs must hold at least one run, got none"),
        ({"a": []}, None, r"runs\['a'\] must hold at least one row of a log, got none"),
        ({"a": log(math.nan)}, None, r"runs\['a'\] must hold finite numbers, got others in training"),
        ({"a": log(1)}, {"b": "full"}, "variants must name runs that are there, got b"),
        ({str(n): log(1) for n in range(MOST_VARIANTS + 1)}, None, "at most 12 variants, .* got 13"),
    ],
)
def test_bad_runs_are_refused(runs, variants, message):
    with pytest.raises(ValueError, match=message):
        RunBrowserExplorer(runs, variants)


def test_a_path_that_is_no_log_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        RunBrowserExplorer({"mine": tmp_path / "log.csv"})
