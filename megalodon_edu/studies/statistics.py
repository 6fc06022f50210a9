"""What a handful of seeds says: the mean with Student's interval, and differences paired by seed.

    interval = mean ± t(n - 1) · s / √n          s: standard deviation with n - 1 in the denominator

The interval takes the seeds' scores for draws from a normal distribution. Three of them show whether they are; paired
by seed (the same windows of text in the same order), what a seed adds to both runs cancels.
"""

import math
from collections.abc import Mapping, Sequence

from megalodon_edu.arguments import require_between
from megalodon_edu.studies.bootstrap import Interval, student_quantile


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of independent values and its interval. Raises ValueError for fewer than two or one not finite."""
    require_between("level", level, 0.0, 1.0)
    if len(values) < 2 or not all(map(math.isfinite, values)):
        raise ValueError(f"values must be at least two finite numbers, got {list(values)}; run more seeds")
    count = len(values)
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = student_quantile((1 + level) / 2, count - 1) * deviation / math.sqrt(count)
    return Interval(mean, mean - reach, mean + reach)


def paired_differences(scores: Mapping[int, float], baseline: Mapping[int, float]) -> dict[int, float]:
    """scores - baseline for every seed that both have, in their order. Raises ValueError if they share none."""
    shared = sorted(scores.keys() & baseline.keys())
    if not shared:
        raise ValueError(f"scores and baseline must share a seed, got {sorted(scores)} and {sorted(baseline)}")
    return {seed: scores[seed] - baseline[seed] for seed in shared}


def described(values: Mapping[int, float], level: float = 0.95) -> dict[str, object]:
    """For JSON: every seed's value, the mean, and the bounds of its interval (None for a single seed)."""
    interval = mean_interval(list(values.values()), level) if len(values) > 1 else None
    return {
        "seeds": {str(seed): value for seed, value in values.items()},
        "mean": math.fsum(values.values()) / len(values),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "level": level,
    }
