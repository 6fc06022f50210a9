import math

import numpy as np
import pytest

from megalodon_edu.training.curves import across, smoothed, training_curve, validation_curve
from megalodon_edu.training.log import LogRow


def log(losses, every=5):
    return [
        LogRow(n, 100 * n, 0.5 * n, math.log(2) * loss, 1e-3, 1.0, loss + 1 if n % every == 0 else None)
        for n, loss in enumerate(losses, start=1)
    ]


def test_a_short_log_keeps_every_step():
    curve = training_curve(log([8, 6, 5]), points=10)
    np.testing.assert_allclose(curve.bits, [8, 6, 5])
    np.testing.assert_array_equal(
        [curve.steps, curve.tokens, curve.seconds], [[1, 2, 3], [100, 200, 300], [0.5, 1, 1.5]]
    )


def test_a_long_log_keeps_its_start_step_by_step_and_means_of_the_rest():
    losses = np.random.default_rng(0).normal(3, 1, size=5000)
    curve = training_curve(log(losses), points=100)
    assert len(curve.bits) <= 100 and curve.steps[-1] == 5000
    assert curve.steps[0] == 1 and np.diff(curve.steps)[:5].max() < 10 < np.diff(curve.steps)[-1]
    starts = np.concatenate([[0], curve.steps[:-1]]).astype(int)
    means = [losses[a:b].mean() for a, b in zip(starts, curve.steps.astype(int), strict=True)]
    np.testing.assert_allclose(curve.bits, means)
    np.testing.assert_array_equal(curve.tokens, 100 * curve.steps)


def test_looks_at_validation_are_kept_as_they_are():
    curve = validation_curve(log(range(20, 0, -1)), points=10)
    np.testing.assert_array_equal(curve.steps, [5, 10, 15, 20])
    np.testing.assert_array_equal(curve.bits, [17, 12, 7, 2])
    few = validation_curve(log(range(1000), every=1), points=10)
    assert len(few.bits) <= 10 and few.steps[-1] == 1000
    assert len(validation_curve(log([1, 2]), points=10).bits) == 0


def test_smoothing_by_hand():
    found = smoothed(np.array([4.0, 0.0, 0.0]), np.array([1.0, 2, 3]), half_life=1)
    np.testing.assert_allclose(found, [4, 4 / 3, 4 / 7])  # 2 / ½, 1 / ¾, ½ / ⅞


def test_a_constant_stays_where_it_is_from_the_first_point_on():
    np.testing.assert_allclose(smoothed(np.full(50, 3.0), np.arange(1.0, 51), half_life=100), 3)


def test_a_point_that_stands_for_several_steps_weighs_as_much_as_they_would():
    singly = smoothed(np.array([5.0, 2, 2, 2, 7]), np.array([1.0, 2, 3, 4, 5]), half_life=3)
    together = smoothed(np.array([5.0, 2, 7]), np.array([1.0, 4, 5]), half_life=3)
    np.testing.assert_allclose(together, singly[[0, 3, 4]])


def test_no_half_life_is_no_smoothing():
    bits = np.array([3.0, 1, 2])
    np.testing.assert_array_equal(smoothed(bits, np.arange(1.0, 4), half_life=0), bits)


def test_a_band_stands_where_all_curves_are():
    first = (np.array([0.0, 2, 4]), np.array([0.0, 2, 4]))
    second = (np.array([1.0, 3, 5]), np.array([10.0, 10, 10]))
    third = (np.array([1.0, 4]), np.array([1.0, 1]))
    band = across([first, second, third])
    np.testing.assert_array_equal(band.x, [1, 2, 3, 4])
    np.testing.assert_array_equal(band.median, [1, 2, 3, 4])
    np.testing.assert_array_equal(band.low, [1, 1, 1, 1])
    np.testing.assert_array_equal(band.high, [10, 10, 10, 10])


def test_curves_without_a_common_place_have_no_band():
    one, other = (np.array([1.0]), np.array([2.0])), (np.array([3.0]), np.array([2.0]))
    assert all(len(part) == 0 for part in across([one, other]))
    assert all(len(part) == 0 for part in across([one, (np.empty(0), np.empty(0))]))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: training_curve([], 10), "rows must hold at least one row of a log, got none"),
        (lambda: training_curve(log([1]), 0), "points must be at least 1, got 0"),
        (lambda: smoothed(np.ones(2), np.arange(1, 3), -1), "half_life must be a number of steps, at least 0, got -1"),
        (lambda: smoothed(np.ones(2), np.arange(1, 3), math.nan), "half_life must be a number of steps"),
        (lambda: smoothed(np.ones(2), np.arange(3), 1), "bits and steps must have the same shape"),
        (lambda: smoothed(np.ones(2), np.array([2, 2]), 1), "steps must rise from above 0"),
        (lambda: across([]), "curves must hold at least one curve, got none"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
