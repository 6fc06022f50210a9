"""Bytes counted on programs small enough to count by hand."""

import torch

from megalodon_edu.measure.memory import memory_of, saved_bytes

X = torch.ones(1000)  # 4000 bytes


def test_a_result_is_kept_and_a_step_between_is_not():
    assert memory_of(lambda: X + 1) == (4000, 4000)
    assert memory_of(lambda: (X + 1).exp().sum()) == (8000, 4)
    assert memory_of(lambda: None) == (0, 0)


def test_views_and_work_in_place_take_nothing():
    assert memory_of(lambda: X.view(10, 100).T) == (0, 0)
    assert memory_of(lambda: X.clone().add_(1).mul_(2)) == (4000, 4000)
    assert memory_of(lambda: X.clone().view(10, 100)[:2]) == (4000, 4000)


def test_a_view_keeps_the_whole_storage_alive():
    assert memory_of(lambda: (X + 1)[:1]).kept == 4000
    assert memory_of(lambda: (X + 1)[:1].clone()).kept == 4


def test_one_after_the_other_peaks_lower_than_both_at_once():
    def in_turn():
        (X + 1).sum()
        (X + 2).sum()

    def together():
        first, second = X + 1, X + 2
        return first.sum() + second.sum()

    assert memory_of(in_turn).peak == 4004
    assert memory_of(together).peak == 8000 + 3 * 4


def test_inference_mode_is_watched_too():
    def infer():
        with torch.inference_mode():
            return (X + 1).exp()

    assert memory_of(infer) == (8000, 4000)


def test_the_backward_pass_and_its_gradients_are_watched():
    x = torch.ones(1000, requires_grad=True)

    def step():
        x.grad = None
        x.exp().exp().exp().sum().backward()

    kept = memory_of(step)
    assert kept.kept == 4000  # the gradient
    assert kept.peak == 3 * 4000 + 4000 + 8  # what each exp saves, one gradient on its way, the sum and its gradient
    assert memory_of(step) == kept


def test_what_autograd_saves_counts_once_and_without_the_weights():
    weight = torch.ones(1000, requires_grad=True)
    assert saved_bytes(lambda: (X * weight).exp()) == 4000 + 4000  # X and the result; X needs no gradient, so no weight
    assert saved_bytes(lambda: (weight * weight).exp()) == 4000 + 4000  # the weight is saved twice, the result once
    assert saved_bytes(lambda: (weight * weight).exp(), but=[weight]) == 4000
    with torch.no_grad():
        assert saved_bytes(lambda: (X * weight).exp()) == 0
