import numpy as np
import pytest

from megalodon_edu.explorers import ResidualExplorer
from megalodon_edu.explorers.residuals import random_numbers
from megalodon_edu.measure.depth_profile import VARIANTS


def test_the_numbers_have_mean_0_and_variance_1_and_do_not_depend_on_their_neighbours():
    numbers = random_numbers(100_000)
    assert abs(numbers.mean()) < 0.01 and abs(numbers.var() - 1) < 0.01
    assert abs((numbers[1:] * numbers[:-1]).mean()) < 0.01
    powers = [48_271**n % 2147483647 for n in (1, 2, 3)]
    assert numbers[:3].tolist() == pytest.approx([3**0.5 * (2 * power / 2147483647 - 1) for power in powers])


def test_updates_add_up_like_independent_ones():
    explorer = ResidualExplorer(depth=64, attention=0.6, feed_forward=0.4)
    ends = {variant: profile.stream[-1] / profile.stream[0] for variant, profile in explorer.profiles().items()}
    assert ends["pre-norm"] == pytest.approx((1 + 64 * (0.6**2 + 0.4**2)) ** 0.5, rel=0.15)
    assert ends["two-hop"] == pytest.approx((1 + 64 * 0.4**2) ** 0.5, rel=0.15)
    assert ends["post-norm"] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("variant", ["pre-norm", "two-hop"])
def test_the_gradient_grows_backwards_as_the_stream_grows_forwards(variant):
    profile = ResidualExplorer(depth=48, attention=1, feed_forward=1).profiles()[variant]
    product = np.multiply(profile.stream, profile.gradient)
    assert product == pytest.approx(np.full(49, product[-1]), rel=0.5)
    assert profile.stream[-1] > 5 * profile.stream[0]


def test_without_a_feed_forward_two_hop_blocks_are_not_there():
    values = ResidualExplorer(feed_forward=0).values()
    two_hop = VARIANTS.index("two-hop")
    assert np.ptp(values["stream"][two_hop]) == np.ptp(values["gradient"][two_hop]) == 0
    assert not values["attention_gradient"][two_hop].any()
    assert values["stream"][VARIANTS.index("pre-norm")][-1] > 2


def test_without_attention_two_hop_is_pre_norm():
    profiles = ResidualExplorer(attention=0, feed_forward=0.7).profiles()
    assert profiles["two-hop"].stream == pytest.approx(profiles["pre-norm"].stream)
    assert profiles["two-hop"].gradient == pytest.approx(profiles["pre-norm"].gradient)


def test_a_deeper_stack_begins_with_the_blocks_of_a_shallower_one():
    shallow, deep = (ResidualExplorer(depth=depth).values()["stream"] for depth in (5, 20))
    np.testing.assert_allclose(shallow, deep[:, :6])


def test_rescaling_halves_what_each_further_block_adds():
    profile = ResidualExplorer(rescale=True, depth=24, feed_forward=1).profiles()["two-hop"]
    assert max(profile.stream) / min(profile.stream) < 1.03
    weights = np.array(profile.attention_gradient)
    assert (weights[1:] / weights[:-1]).mean() == pytest.approx(0.5, abs=0.1)


def test_the_start_multiplies_the_stream_and_the_picture_says_so():
    small, large = (ResidualExplorer(start=start) for start in (0.1, 1.0))
    assert small.values()["stream"][:, 0] * 10 == pytest.approx(large.values()["stream"][:, 0])
    assert small.description() != large.description()
    assert [len(axes.lines) for axes in small.figure().axes] == [3, 3]
