"""Prices found again from bills that were made with them."""

import numpy as np
import pytest

from megalodon_edu.measure.cost_fit import bill, fit_prices

QUANTITIES = [{"call": 1, "flops": 10.0**power, "bytes": 3.0 * power} for power in range(5, 11)]
PRICES = {"call": 0.02, "flops": 3e-11, "bytes": 0.001}


def test_exact_bills_give_back_their_prices():
    found = fit_prices(QUANTITIES, [bill(PRICES, quantity) for quantity in QUANTITIES])
    assert found == pytest.approx(PRICES, rel=1e-6)


def test_noisy_bills_predict_far_outside():
    noise = np.random.default_rng(0).normal(1, 0.03, len(QUANTITIES))
    seconds = [factor * bill(PRICES, quantity) for factor, quantity in zip(noise, QUANTITIES, strict=True)]
    far = {"call": 1, "flops": 1e13, "bytes": 0.0}
    assert bill(fit_prices(QUANTITIES, seconds), far) == pytest.approx(bill(PRICES, far), rel=0.2)


def test_no_price_is_negative():
    quantities = [{"call": 1, "size": size} for size in (1, 2, 3)]
    falling = fit_prices(quantities, [3.0, 2.0, 1.0])
    assert falling["size"] == 0 and falling["call"] > 0


def test_quantities_that_always_grow_together_share_the_price():
    quantities = [{"one": size, "other": 2 * size} for size in (1.0, 2.0, 3.0)]
    found = fit_prices(quantities, [5.0, 10.0, 15.0])
    assert bill(found, {"one": 10.0, "other": 20.0}) == pytest.approx(50)


def test_small_and_large_bills_weigh_alike():
    quantities = [{"size": 1.0}, {"size": 1000.0}]
    assert fit_prices(quantities, [1.0, 2000.0])["size"] == pytest.approx((1 + 0.5) / (1 + 0.25))


@pytest.mark.parametrize(
    ("quantities", "seconds", "message"),
    [
        ([], [], "one entry per bill"),
        ([{"a": 1}], [1.0, 2.0], "got 2 for 1 bills"),
        ([{"a": 1}, {"b": 1}], [1.0, 2.0], "name the same things"),
        ([{"a": 1, "b": 2}], [1.0], "at most as many as the bills, got 2 for 1"),
        ([{"a": 1}], [0.0], r"finite and above 0, got \[0.0\]"),
    ],
)
def test_bills_that_cannot_be_fitted_are_refused(quantities, seconds, message):
    with pytest.raises(ValueError, match=message):
        fit_prices(quantities, seconds)


def test_a_bill_names_what_it_has_a_price_for():
    with pytest.raises(ValueError, match="quantities must name call, flops, got call"):
        bill({"call": 1.0, "flops": 1.0}, {"call": 1})
