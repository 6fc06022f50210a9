import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny_models import build_megalodon

from megalodon_edu.training.optimizer import build_optimizer, learning_rate, parameter_groups
from megalodon_edu.training.options import TrainingOptions


def decays(model, **choices):
    """Map the name of every parameter to its weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 0.1, **choices)
    listed = [(names[id(parameter)], group["weight_decay"]) for group in groups for parameter in group["params"]]
    assert len(listed) == len(names) == len(dict(listed))
    return dict(listed)


def test_only_matrices_decay(megalodon):
    decay = decays(megalodon)
    decaying = {name for name, value in decay.items() if value}
    assert {
        "embed.weight",
        "output.weight",
        "layers.0.attention.wz.weight",
        "layers.1.feed_forward.fc2.weight",
    } <= decaying
    for part in ("cema.", "norm", ".bias", "attention.gamma", "attention.beta"):
        matching = {name for name in decay if part in name}
        assert matching and not matching & decaying, part


def test_the_authors_let_every_parameter_decay(megalodon):
    assert set(decays(megalodon, decay_all=True).values()) == {0.1}


def test_a_shared_embedding_is_listed_once():
    assert decays(build_megalodon(share_emb=True))["embed.weight"] == 0.1


def test_decay_pulls_a_matrix_but_no_moving_average(megalodon):
    optimizer = build_optimizer(megalodon, TrainingOptions(learning_rate=0.1, weight_decay=0.5))
    for parameter in megalodon.parameters():
        parameter.grad = torch.zeros_like(parameter)
    matrix, alpha = megalodon.layers[0].attention.wz.weight, megalodon.layers[0].attention.cema.alpha
    before = matrix.detach().clone(), alpha.detach().clone()
    optimizer.step()
    torch.testing.assert_close(matrix, before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(alpha, before[1])


def test_the_rate_rises_over_the_warm_up_then_falls_along_a_cosine():
    options = TrainingOptions(steps=100, learning_rate=2.0, warmup_steps=4, final_fraction=0.1)
    rates = [learning_rate(step, step / 100, options) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 / 4)
    assert rates[3] == max(rates)
    assert rates[50] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert rates[75] == pytest.approx(2.0 * (0.1 + 0.9 * (1 + math.cos(0.75 * math.pi)) / 2))
    assert all(later < earlier for earlier, later in pairwise(rates[3:]))
    assert learning_rate(99, 1.0, options) == pytest.approx(0.2)


def test_without_a_warm_up_the_first_rate_is_the_peak():
    assert learning_rate(0, 0.0, TrainingOptions(learning_rate=2.0, warmup_steps=0)) == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0 and finite, got nan"),
        ({"final_fraction": 1.5}, "final_fraction must lie between 0 and 1, got 1.5"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, got -0.1"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"epsilon": 0.0}, "epsilon must be above 0, got 0.0"),
        ({"clip": 0.0}, "clip must be above 0, got 0.0"),
        ({"max_seconds": 0.0}, "max_seconds must be above 0, got 0.0"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds must be above 0, got -1.0"),
        ({"precision": "float16"}, "precision must be one of auto, float32, bfloat16, got 'float16'"),
    ],
)
def test_options_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TrainingOptions(), **change)
