"""What chapter 06 says of the recorded runs with and without the norm on queries and keys."""

from dataclasses import replace

import pytest
import torch

from megalodon_edu.data import documents
from megalodon_edu.measure.attention_logits import attention_statistics
from megalodon_edu.measure.logit_growth import (
    EVERY,
    LEARNING_RATES,
    LENGTH,
    PROBE_BATCH,
    PROBE_SEED,
    SEED,
    STEPS,
    read_looks,
)
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.recordings import recording
from megalodon_edu.training.windows import RandomWindows, concatenate

RUN = recording("logit_growth")
LOOKS = read_looks(RUN.folder / "looks.csv")


def at(step, normalize_z, rate):
    return [look for look in LOOKS if (look.step, look.normalize_z, look.learning_rate) == (step, normalize_z, rate)]


def test_it_is_what_the_code_records_today():
    steps = range(0, STEPS + 1, EVERY)
    expected = [(rate, normal, step, layer) for rate in LEARNING_RATES for normal in (False, True) for step in steps
                for layer in (0, 1)]  # fmt: skip
    assert [(look.learning_rate, look.normalize_z, look.step, look.layer) for look in LOOKS] == expected
    assert RUN.about["options"]["steps"] == STEPS and RUN.about["config"]["normalize_z"] is True


def test_with_the_norm_logits_start_within_one_and_without_it_they_run_away():
    for rate in LEARNING_RATES:
        start, end = at(0, True, rate), at(STEPS, True, rate)
        assert max(look.largest_logit for look in start) <= 1
        bare = max(look.largest_logit for look in at(STEPS, False, rate))
        assert bare > 5 * max(look.largest_logit for look in end)
        assert min(look.entropy for look in at(STEPS, False, rate)) < min(look.entropy for look in end) / 5


@pytest.mark.parametrize("normalize_z", [True, False])
def test_the_first_look_comes_out_again(normalize_z):
    probe = RandomWindows(concatenate(documents("validation")), PROBE_BATCH, LENGTH, PROBE_SEED)(0)[:, :-1]
    torch.manual_seed(SEED)
    model = Megalodon(replace(MegalodonConfig.preset("tiny"), normalize_z=normalize_z))
    for found, look in zip(attention_statistics(model, probe), at(0, normalize_z, LEARNING_RATES[0]), strict=True):
        assert found == pytest.approx((look.largest_logit, look.entropy), rel=1e-3)
