import math

import numpy as np
import pytest

from megalodon_edu.studies.bootstrap import block_length, mean_interval, moving_block_means, student_quantile


def autoregressive(phi, count, rows, seed=0):
    """Rows of x_t = phi x_(t-1) + noise, with the true mean 0."""
    noise = np.random.default_rng(seed).standard_normal((rows, count + 100))
    x = np.zeros_like(noise)
    for t in range(1, count + 100):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    return x[:, 100:]


def coverage(phi, block=None, rows=1000):
    found = [mean_interval(row, block, resamples=500, seed=n) for n, row in enumerate(autoregressive(phi, 100, rows))]
    return np.mean([interval.low <= 0 <= interval.high for interval in found])


@pytest.mark.parametrize(("phi", "least"), [(0.0, 0.93), (0.3, 0.92), (0.5, 0.91), (0.7, 0.88)])
def test_intervals_of_95_percent_hold_the_true_mean_about_as_often(phi, least):
    assert least <= coverage(phi) <= 0.985


def test_single_measurements_as_blocks_are_too_sure_of_themselves():
    assert coverage(0.5, block=1) < 0.8


def test_a_block_keeps_neighbours_together():
    values = np.arange(100.0)
    whole = moving_block_means(values, 50, 200, 0)
    assert {mean for mean in whole} <= {(a + b) / 2 + 24.5 for a in range(51) for b in range(51)}


def test_independent_values_get_the_textbook_interval():
    values = np.random.default_rng(0).standard_normal(400)
    found = mean_interval(values, block=1, resamples=20_000)
    reach = 1.966 * values.std(ddof=1) / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.02 * reach)


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly_so():
    values = autoregressive(0.5, 100, 1)[0]
    first, again, other = (mean_interval(values, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert other.low == pytest.approx(first.low, abs=0.1)


@pytest.mark.parametrize(
    ("probability", "freedom", "table"), [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 9, 2.262), (0.95, 30, 1.697)]
)
def test_quantiles_of_student(probability, freedom, table):
    assert student_quantile(probability, freedom) == pytest.approx(table, abs=2e-3)
    assert student_quantile(1 - probability, freedom) == pytest.approx(-table, abs=2e-3)


def test_block_lengths_and_errors():
    assert [block_length(count) for count in (1, 100, 128, 400)] == [1, 10, 11, 20]
    with pytest.raises(ValueError, match="at least two blocks of 10, got 19"):
        mean_interval(np.zeros(19), block=10)
    with pytest.raises(ValueError, match="one row of finite numbers"):
        mean_interval([0.0, math.nan] * 8)
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        mean_interval(np.zeros(19), block=0)
