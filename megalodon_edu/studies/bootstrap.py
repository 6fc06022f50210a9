"""How sure is the mean of measurements that stand in a row, where neighbours resemble each other?

The moving-block bootstrap (Künsch 1989, Annals of Statistics 17, 1217-1241): glue a new row of the same length together
from blocks of neighbours, each drawn from all n - b + 1 blocks of length b, and take its mean; do so many times. The
spread of these means knows of the likeness inside a block; drawing single measurements would take it for news.

    interval = mean ± t(n/b - 1) · sqrt(n / (n - b)) · standard deviation of the bootstrap means

The plain quantiles of the means make intervals that are too short, because few blocks fit into a row. So two factors of
small samples are added here: sqrt(n / (n - b)), which for b = 1 is that of the unbiased variance, and the quantile of
Student's t for as many measurements as there are blocks side by side. In rows of 100 made by x_t = φ x_{t-1} + noise,
intervals of 95 % then hold the true mean in 91 % of the cases for φ = 0.7 up to 96 % for φ = 0 (a test repeats it).
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megalodon_edu.arguments import require_between, require_positive

RESAMPLES = 4000


class Interval(NamedTuple):
    """A mean, and the bounds between which the true one is likely to lie."""

    mean: float
    low: float
    high: float


def block_length(count: int) -> int:
    """Of a row of `count` measurements: the square root, rounded."""
    return max(1, round(math.sqrt(count)))


def moving_block_means(
    values: npt.NDArray[np.float64], block: int, resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """The means of `resamples` rows, each glued together from random blocks and cut to the length of `values`."""
    generator = np.random.default_rng(seed)
    count = len(values)
    starts = generator.integers(0, count - block + 1, size=(resamples, -(-count // block)))
    places = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :count]
    return values[places].mean(axis=1)


def mean_interval(
    values: Sequence[float] | npt.NDArray[np.float64],
    block: int | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of `values`, which stand in the order of their places, and its interval. block: None: `block_length`.

    Raises ValueError for values that are not finite or not in one row, and for fewer than two blocks in it.
    """
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1 or not np.isfinite(row).all():
        raise ValueError(f"values must be one row of finite numbers, got the shape {row.shape}: {row.ravel()[:3]} ...")
    count = len(row)
    block = block_length(count) if block is None else block
    require_positive("block", block)
    require_positive("resamples", resamples, least=2)
    require_between("level", level, 0.0, 1.0)
    if count < 2 * block:
        raise ValueError(f"values must hold at least two blocks of {block}, got {count}; take a smaller block")
    deviation = moving_block_means(row, block, resamples, seed).std() * math.sqrt(count / (count - block))
    reach = student_quantile((1 + level) / 2, count / block - 1) * deviation
    mean = row.mean()
    return Interval(float(mean), float(mean - reach), float(mean + reach))


@cache
def student_quantile(probability: float, freedom: float) -> float:
    """The t that Student's distribution with `freedom` >= 1 degrees of freedom stays below with this probability.

    The integral of the density in the angle a, t = sqrt(freedom) · tan a, where it is cos(a)^(freedom - 1).
    """
    angles = np.linspace(-math.pi / 2, math.pi / 2, 20_001)
    density = np.cos(angles).clip(0) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(math.sqrt(freedom) * math.tan(np.interp(probability, below / below[-1], angles)))
