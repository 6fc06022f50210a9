"""Prices from measured bills: how many seconds a call, a FLOP or a byte costs on this machine.

    seconds ≈ Σ price · quantity          every price at least 0

A quantity is what a cost model counts, for example the products of a forward pass; a call as such has the quantity 1.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

Quantities = Mapping[str, float]


def fit_prices(quantities: Sequence[Quantities], seconds: Sequence[float]) -> dict[str, float]:
    """The prices that come closest to the measured seconds: least squares of the relative errors.

    All bills must name the same quantities, and there must be at least as many bills as quantities. Raises ValueError
    where they do not, and for seconds that are not above 0.
    """
    if not quantities or len(quantities) != len(seconds):
        raise ValueError(f"seconds must have one entry per bill, got {len(seconds)} for {len(quantities)} bills")
    names = list(quantities[0])
    if any(list(bill) != names for bill in quantities):
        raise ValueError(f"quantities must name the same things in every bill, got {', '.join(names)} and others")
    if len(names) > len(seconds):
        raise ValueError(f"quantities must be at most as many as the bills, got {len(names)} for {len(seconds)} bills")
    if not all(0 < second < float("inf") for second in seconds):
        raise ValueError(f"seconds must be finite and above 0, got {list(seconds)}")
    table = np.array([[bill[name] for name in names] for bill in quantities], dtype=float)
    rows = table / np.array(seconds, dtype=float)[:, None]
    scale = np.maximum(rows.max(0), np.finfo(float).tiny)
    prices = _least_squares_not_below_zero(rows / scale) / scale
    return dict(zip(names, prices.tolist(), strict=True))


def bill(prices: Mapping[str, float], quantities: Quantities) -> float:
    """Σ price · quantity, in seconds. Raises ValueError unless both name the same things."""
    if set(prices) != set(quantities):
        raise ValueError(f"quantities must name {', '.join(prices)}, got {', '.join(quantities)}")
    return sum(price * quantities[name] for name, price in prices.items())


def _least_squares_not_below_zero(rows: np.ndarray) -> np.ndarray:
    """x ≥ 0 with rows · x near 1. With so few unknowns, every choice of those that stay above 0 is tried."""
    count, width = rows.shape
    best, least = np.zeros(width), float(count)
    for size in range(1, width + 1):
        for chosen in itertools.combinations(range(width), size):
            found = np.linalg.lstsq(rows[:, chosen], np.ones(count), rcond=None)[0]
            error = float(((rows[:, chosen] @ found - 1) ** 2).sum())
            if (found >= 0).all() and error < least - 1e-12:
                best, least = np.zeros(width), error
                best[list(chosen)] = found
    return best
