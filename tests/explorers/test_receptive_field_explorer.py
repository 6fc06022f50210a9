import numpy as np
import pytest

from megalodon_edu.explorers import ReceptiveFieldExplorer
from megalodon_edu.explorers.receptive_field import TIME

PAST = np.tri(TIME)
AGE = np.arange(TIME)[:, None] - np.arange(TIME)
ONLY = {"attention": False, "memory": False, "statistics": False}


def equal_weights(chunk_size):
    place = np.arange(TIME)
    seen = PAST * (place[:, None] // chunk_size == place // chunk_size)
    return seen / seen.sum(1, keepdims=True)


def test_all_paths_together_are_a_product_of_matrices():
    explorer = ReceptiveFieldExplorer(chunk_size=7, half_life=3)
    decay = 0.5 ** (1 / 3)
    averaging = PAST * (1 - decay) * decay ** np.maximum(AGE, 0)
    less_the_mean = np.eye(TIME) - PAST / np.arange(1, TIME + 1)[:, None]
    expected = (averaging + equal_weights(7)) / 2 @ less_the_mean
    np.testing.assert_allclose(explorer.values()["field"], np.abs(expected), atol=1e-12)


def test_attention_alone_stops_at_the_edge():
    explorer = ReceptiveFieldExplorer(**{**ONLY, "attention": True}, chunk_size=10, token=34)
    values = explorer.values()
    np.testing.assert_allclose(values["field"], (np.eye(TIME) + equal_weights(10)) / 2, atol=1e-12)
    assert np.flatnonzero(values["row"]).tolist() == [30, 31, 32, 33, 34]
    assert values["share"] == 0 and explorer.edge == 30


@pytest.mark.parametrize("path", ["memory", "statistics"])
def test_the_other_two_cross_it(path):
    values = ReceptiveFieldExplorer(**{**ONLY, path: True}, chunk_size=10, token=34).values()
    assert (values["row"][:35] > 0).all() and not values["row"][35:].any()
    assert values["share"] == pytest.approx(values["row"][:30].sum() / values["row"].sum())
    np.testing.assert_array_equal(values[path], values["row"])


def test_shut_paths_leave_the_token_itself():
    values = ReceptiveFieldExplorer(**ONLY).values()
    np.testing.assert_allclose(values["field"], np.eye(TIME))


def test_a_memory_halves_every_half_life():
    row = ReceptiveFieldExplorer(**{**ONLY, "memory": True}, half_life=8, token=40).values()["row"]
    assert row[24] / row[32] == pytest.approx(0.5)


def test_the_first_token_is_its_own_mean():
    values = ReceptiveFieldExplorer(token=0).values()
    assert not values["row"].any() and values["share"] == 0


def test_the_figure_draws_the_values():
    explorer = ReceptiveFieldExplorer(token=20, statistics=False)
    values = explorer.values()
    left, right = explorer.figure().axes
    drawn = left.images[0].get_array()
    assert np.array_equal(~np.ma.getmaskarray(drawn), values["field"] > 0)
    lines = {line.get_label(): line for line in right.lines}
    np.testing.assert_array_equal(lines["all together"].get_ydata(), values["row"][:21])
    assert "statistics alone" not in lines
    assert "0 inputs" not in explorer.description() and "begins at 12" in explorer.description()
