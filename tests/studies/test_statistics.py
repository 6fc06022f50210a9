"""Intervals over seeds against published quantiles and by their coverage; pairs by seed."""

import math

import numpy as np
import pytest

from megalodon_edu.studies.statistics import described, mean_interval, paired_differences


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (11, 2.228), (31, 2.042)])
def test_the_interval_is_students(count, quantile):
    values = list(np.random.default_rng(0).normal(1.5, 0.1, count))
    found = mean_interval(values)
    reach = quantile * np.std(values, ddof=1) / math.sqrt(count)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.high - found.mean, found.mean - found.low) == pytest.approx((reach, reach), rel=1e-3)


def test_it_holds_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    intervals = [mean_interval(list(generator.normal(2.0, 0.3, 3))) for _ in range(2000)]
    assert np.mean([found.low <= 2.0 <= found.high for found in intervals]) == pytest.approx(0.95, abs=0.015)


def test_what_a_seed_adds_to_both_cancels():
    baseline = {0: 1.70, 1: 1.60, 2: 1.80}
    worse = {2: 1.83, 0: 1.72, 1: 1.61, 5: 9.9}
    differences = paired_differences(worse, baseline)
    assert list(differences) == [0, 1, 2]
    assert list(differences.values()) == pytest.approx([0.02, 0.01, 0.03])
    paired, apart = mean_interval(list(differences.values())), mean_interval(list(baseline.values()))
    assert paired.high - paired.low < (apart.high - apart.low) / 5


def test_one_seed_has_a_mean_and_no_interval():
    assert described({3: 1.5}) == {"seeds": {"3": 1.5}, "mean": 1.5, "low": None, "high": None, "level": 0.95}
    several = described({0: 1.0, 1: 2.0})
    assert several["mean"] == 1.5 and several["low"] < 1.0 and several["high"] > 2.0


def test_wrong_values_are_named():
    for values in ([1.0], [], [1.0, math.nan]):
        with pytest.raises(ValueError, match="values must be at least two finite numbers, got .* run more seeds"):
            mean_interval(values)
    with pytest.raises(ValueError, match=r"must share a seed, got \[1\] and \[2\]"):
        paired_differences({1: 0.0}, {2: 0.0})
