import math

import numpy as np
import pytest
import torch

from megalodon_edu.models import (
    Megalodon,
    MegalodonConfig,
    NormTruncation,
    Transformer,
    match_transformer,
    with_config,
    with_norm,
)
from megalodon_edu.studies import context_scoring
from megalodon_edu.studies.context_scoring import receptive_context, window_bits
from megalodon_edu.training.evaluation import byte_losses

CONFIG = MegalodonConfig(
    num_layers=2, model_dim=16, num_heads=1, z_dim=8, value_dim=16, ffn_hidden_dim=32, norm_num_groups=4,
    cema_ndim=2, chunk_size=4,
)  # fmt: skip
BYTES = bytes(np.random.default_rng(0).integers(1, 256, 300, dtype=np.uint8))
TEXT = torch.frombuffer(bytearray(BYTES), dtype=torch.uint8)
STARTS, LENGTH = np.array([64, 90, 133, 201, 292]), 8


def build(kind):
    torch.manual_seed(0)
    if kind.startswith("megalodon"):
        model = Megalodon(CONFIG).eval()
        return with_norm(model, "decay") if kind == "megalodon, fading" else model
    model = Transformer(match_transformer(CONFIG, context_size=300)).eval()
    return with_config(model, window=16) if kind == "transformer, sliding" else model


KINDS = ("megalodon", "megalodon, fading", "transformer", "transformer, sliding")


def expected(model, context, **more):
    """The score of the same bytes by the measure of whole documents: one document a window, from its context on."""
    return [
        byte_losses(model, BYTES[at - context : at + LENGTH], **more)[-LENGTH:].double().sum().item() / math.log(2)
        for at in STARTS
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [0, 4, 5, 64])
def test_it_is_the_score_of_documents_that_begin_so_many_bytes_earlier(kind, context, monkeypatch):
    monkeypatch.setattr(context_scoring, "PIECE", 12)
    model = build(kind)
    found = window_bits(model, TEXT, STARTS, context, LENGTH, "float32", tokens_at_once=40)
    assert found == pytest.approx(expected(model, context), rel=1e-4)


@pytest.mark.parametrize("truncation", [NormTruncation(), NormTruncation(step=1, keep=1, after=2)])
def test_truncated_statistics_are_those_of_the_evaluation(truncation):
    model = build("megalodon")
    found = window_bits(model, TEXT, STARTS, 64, LENGTH, "float32", truncation)
    assert found == pytest.approx(expected(model, 64, truncation=truncation), rel=1e-4)
    assert found != pytest.approx(window_bits(model, TEXT, STARTS, 64, LENGTH, "float32"), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_before_the_context_does_not_count(kind):
    model, changed = build(kind), TEXT.clone()
    changed[: STARTS[0] - 16] = 7
    first = (STARTS[:1], 16, LENGTH, "float32")
    assert (window_bits(model, TEXT, *first) == window_bits(model, changed, *first)).all()
    changed[STARTS[0] - 16] = 7
    assert (window_bits(model, TEXT, *first) != window_bits(model, changed, *first)).all()


def test_a_sliding_window_needs_no_more_than_its_layers_can_carry():
    model = build("transformer, sliding")
    assert [receptive_context(model, context) for context in (0, 31, 32, 64)] == [0, 31, 32, 32]
    assert receptive_context(build("transformer"), 64) == receptive_context(build("megalodon"), 64) == 64
    long, short = (window_bits(model, TEXT, STARTS, context, LENGTH, "float32") for context in (64, 32))
    assert long == pytest.approx(short, rel=1e-5)
    shorter = window_bits(model, TEXT, STARTS, 24, LENGTH, "float32")
    assert long != pytest.approx(shorter, rel=1e-5)


def test_windows_that_do_not_fit_are_refused():
    model = build("megalodon")
    for context, length in ((65, 8), (64, 9)):
        with pytest.raises(ValueError, match="starts must leave"):
            window_bits(model, TEXT, STARTS, context, length)
