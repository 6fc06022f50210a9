"""The figure of loss curves, and the names beside the ends of its lines."""

import numpy as np
import pytest

from megalodon_edu.plots import style
from megalodon_edu.plots.end_labels import GAP, label_ends, spread
from megalodon_edu.plots.run_curves import RunCurve, run_curves
from megalodon_edu.training.curves import Band

X = np.array([1.0, 2, 4])
SEEDS = Band(X, np.array([5.0, 3, 2]), np.array([4.0, 2.5, 1.5]), np.array([6.0, 3.5, 2.5]))
ONE = Band(X, X, X, X)
ENDS = (1, 4, 1, 7)


def test_a_run_is_a_line_and_seeds_have_a_band():
    curves = [RunCurve("seeds", SEEDS, style.BLUE), RunCurve("one", ONE, style.ORANGE, dashed=True, looks=True)]
    axes = run_curves(curves, xlabel="bytes read", ends=ENDS, position=2).axes[0]
    seeds, one, place = axes.lines
    np.testing.assert_array_equal(seeds.get_xydata(), np.stack([X, SEEDS.median], axis=1))
    np.testing.assert_array_equal(one.get_ydata(), X)
    assert one.get_marker() == "o" and seeds.get_marker() in ("", "None") and one.is_dashed() and not seeds.is_dashed()
    (band,) = axes.collections
    assert {tuple(corner) for corner in band.get_paths()[0].vertices} >= {(1, 4), (1, 6), (4, 1.5), (4, 2.5)}
    assert list(place.get_xdata()) == [2, 2]
    assert [text.get_text() for text in axes.texts] == ["seeds", "one"]
    assert axes.get_xlim() == ENDS[:2] and axes.get_ylim() == ENDS[2:]
    assert axes.get_ylabel() == "bits per byte" and axes.get_xlabel() == "bytes read"


def test_training_and_validation_of_a_run_share_one_name():
    curves = [RunCurve("a", ONE, style.BLUE), RunCurve("a", SEEDS, style.BLUE, looks=True)]
    (name,) = run_curves(curves, xlabel="seconds", ends=ENDS, scales=("log", "log")).axes[0].texts
    assert name.get_text() == "a" and name.xy == (4, 2)


def test_a_curve_without_points_is_left_out():
    empty = Band(*(np.empty(0) for _ in Band._fields))
    assert not run_curves([RunCurve("a", empty, style.BLUE)], xlabel="seconds", ends=ENDS).axes[0].texts


@pytest.mark.parametrize(
    "wanted, places",
    [
        ([0, 100], [0, 100]),
        ([5, 5], [0, 10]),
        ([5, 5, 5, 60], [-5, 5, 15, 60]),
        ([0, 9, 18], [-1, 9, 19]),
        ([20, 0, 4], [20, -3, 7]),
        ([], []),
    ],
)
def test_names_move_as_little_as_they_must(wanted, places):
    assert spread(wanted, 10) == pytest.approx(places)


def test_names_of_lines_that_end_together_stand_apart():
    figure, axes = style.figure()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    label_ends(axes, [(1, 0.5, "a", style.BLUE), (1, 0.501, "b", style.ORANGE)])
    lower, upper = (text.xyann[1] + text.axes.transData.transform(text.xy)[1] * 72 / figure.dpi for text in axes.texts)
    assert upper - lower == pytest.approx(GAP, abs=0.5)
