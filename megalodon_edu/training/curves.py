"""The curves of training runs: a log in few points, smoothed, and several seeds as one band."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from megalodon_edu.arguments import require_number, require_positive
from megalodon_edu.training.log import LogRow

Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Curve(NamedTuple):
    """Bits per byte along a run; all arrays have the shape (point,).

    At point i, `steps[i]` steps were done, `tokens[i]` tokens read and `seconds[i]` had passed.
    """

    steps: Numbers
    tokens: Numbers
    seconds: Numbers
    bits: Numbers


class Band(NamedTuple):
    """Several runs at the same places `x`: the median, the lowest and the highest; all of the shape (point,)."""

    x: Numbers
    median: Numbers
    low: Numbers
    high: Numbers


def training_curve(rows: Sequence[LogRow], points: int) -> Curve:
    """The training loss in at most `points` points, each the mean of the steps since the point before it.

    Point i ends at step n (i / points)² of n: the start, where the loss falls steeply, keeps its single steps.
    Raises ValueError if there is no row or `points` is below 1.
    """
    require_positive("points", points)
    if not rows:
        raise ValueError("rows must hold at least one row of a log, got none; train a step first")
    ends = _ends(len(rows), points)
    bits = np.add.reduceat([row.loss for row in rows], np.concatenate([[0], ends[:-1]])) / np.diff(ends, prepend=0)
    return _at([rows[end - 1] for end in ends], bits / math.log(2))


def validation_curve(rows: Sequence[LogRow], points: int) -> Curve:
    """The looks at validation, at most `points` of them; empty if there was none. Errors as `training_curve`."""
    require_positive("points", points)
    looks = [row for row in rows if row.validation_bits_per_byte is not None]
    if looks:
        looks = [looks[end - 1] for end in _ends(len(looks), points)]
    return _at(looks, np.array([row.validation_bits_per_byte for row in looks], dtype=float))


def smoothed(bits: Numbers, steps: Numbers, half_life: float) -> Numbers:
    """The exponential moving average of a curve, free of the pull of its empty start.

    h_i = d_i h_{i-1} + (1 - d_i) bits_i with d_i = 2^(-(steps_i - steps_{i-1}) / half_life), and what is returned is
    h_i / (1 - 2^(-steps_i / half_life)): the correction for h_0 = 0 of Adam's averages (arXiv:1412.6980, section 3).
    bits, steps: (point,), the steps rising from above 0.  half_life: in steps; 0 returns the curve as it is.
    Raises ValueError for a half-life below 0, steps that do not rise, or unequal lengths.
    """
    require_number("half_life", half_life)
    if not 0 <= half_life < math.inf:
        raise ValueError(f"half_life must be a number of steps, at least 0, got {half_life}")
    bits, steps = np.asarray(bits, dtype=float), np.asarray(steps, dtype=float)
    if bits.shape != steps.shape or bits.ndim != 1:
        raise ValueError(f"bits and steps must have the same shape (point,), got {bits.shape} and {steps.shape}")
    passed = np.diff(steps, prepend=0.0)
    if not (passed > 0).all():
        raise ValueError("steps must rise from above 0; sort the rows of the log, and give each step once")
    if half_life == 0:
        return bits
    fades = np.exp2(-passed / half_life)
    average, weight = 0.0, 0.0
    result = np.empty_like(bits)
    for index, (value, fade) in enumerate(zip(bits, fades, strict=True)):
        average = fade * average + (1 - fade) * value
        weight = fade * weight + (1 - fade)
        result[index] = average / weight
    return result


def across(curves: Sequence[tuple[Numbers, Numbers]]) -> Band:
    """Median, lowest and highest of several curves (x, y), at every x of any of them that all of them reach.

    Between its points a curve is a straight line. The band is empty where the curves have no x in common.
    Raises ValueError if there is no curve.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none; leave out a variant without runs")
    if any(len(x) == 0 for x, _ in curves):
        return Band(*(np.empty(0) for _ in Band._fields))
    start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    places = np.unique(np.concatenate([x for x, _ in curves]))
    places = places[(places >= start) & (places <= end)]
    values = np.stack([np.interp(places, x, y) for x, y in curves])
    return Band(places, np.median(values, axis=0), values.min(axis=0), values.max(axis=0))


def _ends(count: int, points: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where pieces of `count` rows end: at count (i / points)², rounded up, each end once."""
    if count <= points:
        return np.arange(1, count + 1)
    squares = np.arange(1, points + 1) ** 2
    return np.unique(-(-count * squares // points**2))


def _at(rows: Sequence[LogRow], bits: Numbers) -> Curve:
    steps, tokens, seconds = (
        np.array([getattr(row, name) for row in rows], dtype=float) for name in ("step", "tokens", "seconds")
    )
    return Curve(steps, tokens, seconds, bits)
