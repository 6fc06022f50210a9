import math

import numpy as np
import pytest

from megalodon_edu.explorers import NormalizedAttentionExplorer
from megalodon_edu.explorers.normalized_attention import BARE, L2, RMS, SCHEMES, TOKENS, TWICE, fixed_z


def at(**settings):
    return NormalizedAttentionExplorer(**settings).values()


def test_logits_of_length_one_are_cosines_and_weights_their_causal_softmax():
    values, z = at(width=16), fixed_z()[:, :16].numpy()
    cosines = z @ z.T / np.linalg.norm(z, axis=1) / np.linalg.norm(z, axis=1)[:, None]
    np.testing.assert_allclose(values["logits"], np.tril(cosines), atol=1e-4)
    powers = np.tril(np.exp(cosines))
    np.testing.assert_allclose(values["weights"], powers / powers.sum(1, keepdims=True), atol=1e-4)
    assert values["largest"] <= 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_a_norm_makes_the_size_of_z_irrelevant(scheme):
    small, large = at(scheme=scheme, size=1.0), at(scheme=scheme, size=10.0)
    ratio = (large["largest"] / small["largest"]).item()
    assert ratio == pytest.approx(100 if scheme == BARE else 1, rel=1e-3)


@pytest.mark.parametrize("width", [2, 64, 256])
def test_the_two_scale_bugs_are_off_by_the_width_and_by_its_root(width):
    right = at(width=width)["logits"]
    np.testing.assert_allclose(at(width=width, scheme=RMS)["logits"], width * right)
    np.testing.assert_allclose(at(width=width, scheme=TWICE)["logits"], right / math.sqrt(width))


def test_a_larger_gain_sharpens_every_row():
    entropies = [at(kappa=kappa)["entropy"] for kappa in (0.25, 1.0, 4.0, 8.0)]
    assert all((np.diff(entropies, axis=0) < 0).ravel())
    np.testing.assert_allclose(at(kappa=2.0)["logits"], 4 * at(kappa=1.0)["logits"])


def test_equal_letters_attend_to_each_other_more_than_to_others():
    weights = at(width=256, kappa=3.0)["weights"]
    for late in range(len(TOKENS)):
        for early in range(late):
            if TOKENS[late] == TOKENS[early]:
                others = [s for s in range(late) if s != early]
                assert weights[late, early] > weights[late, others].max()


def test_the_figure_shows_the_chosen_row_and_the_description_its_numbers():
    explorer = NormalizedAttentionExplorer(scheme=RMS, row=5)
    _, logits, weights = explorer.figure().axes
    values = explorer.values()
    for axes, name in ((logits, "logits"), (weights, "weights")):
        np.testing.assert_allclose(axes.lines[0].get_ydata(), values[name][5, :6])
        assert axes.get_title(loc="left") == f"{name} of row “s”"
    assert f"strongest weight is {values['weights'][5].max():.2f}" in explorer.description()
    assert f"largest logit is {values['largest'].item():.3g}" in explorer.description()


def test_z_is_always_the_same():
    assert fixed_z().equal(fixed_z()) and fixed_z().shape == (14, 256)
    assert NormalizedAttentionExplorer().scheme == L2
