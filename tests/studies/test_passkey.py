"""Planted numbers and passages stand where they should, and the score is the probability of the right bytes."""

import math

import numpy as np
import pytest
import torch
from tiny_recallers import Lookup, megalodon

from megalodon_edu.studies.passkey import (
    AFTER,
    CUE,
    DIGITS,
    PASSAGE,
    SHOWN,
    ask,
    in_one_chunk,
    least_distance,
    plant,
    probe,
)

BOOK = bytes(np.random.default_rng(3).integers(97, 123, size=4000, dtype=np.uint8))
BACKGROUND = BOOK[:512]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("distance", [least_distance("passkey"), 200, 480])
def test_the_number_stands_the_distance_before_it_is_asked_for(distance):
    one = probe("passkey", "given", BOOK, rng())
    text = plant(BACKGROUND, one, distance)
    number = text[-DIGITS:]
    assert number.isdigit() and len(text) == 512
    assert text[-DIGITS - distance :].startswith(number + AFTER)
    assert text[-DIGITS - distance - len(CUE) :].startswith(CUE)
    assert text.endswith(CUE + number) and text.count(number) == 2


def test_the_conditions_of_a_trial_differ_in_the_number_alone():
    texts = {
        name: plant(BACKGROUND, probe("passkey", name, BOOK, rng(5)), 100) for name in ("absent", "other", "given")
    }
    differing = [place for place, (a, b) in enumerate(zip(texts["given"], texts["other"], strict=True)) if a != b]
    assert differing == list(range(512 - DIGITS - 100, 512 - 100)), "every digit differs, and nothing else"
    ending = len(CUE) + DIGITS
    assert texts["absent"][:-ending] == BACKGROUND[:-ending]
    assert len({text[-ending:] for text in texts.values()}) == 1


@pytest.mark.parametrize("distance", [least_distance("copy"), 300])
def test_a_passage_comes_twice(distance):
    given, absent = (plant(BACKGROUND, probe("copy", name, BOOK, rng(1)), distance) for name in ("given", "absent"))
    passage = given[-PASSAGE:]
    assert given[-PASSAGE - distance :].startswith(passage) and passage in BOOK
    assert absent == BACKGROUND[:-PASSAGE] + passage


@pytest.mark.parametrize("kind", ["passkey", "copy"])
def test_what_does_not_fit_is_refused(kind):
    one = probe(kind, "given", BOOK, rng())
    for distance in (least_distance(kind) - 1, 512):
        with pytest.raises(ValueError, match="distance must leave room"):
            plant(BACKGROUND, one, distance)
    with pytest.raises(ValueError, match="condition must be one of"):
        probe(kind, "sometimes", BOOK, rng())
    with pytest.raises(ValueError, match="kind must be one of passkey, copy, got 'riddle'"):
        probe("riddle", "given", BOOK, rng())


@pytest.mark.parametrize("asked", [1, 5])
def test_one_chunk_holds_the_question_and_every_planted_byte_that_is_asked_for(asked):
    chunk, length = 64, 256
    for distance in range(1, 130):
        # Byte t is predicted at input t, and read as input t + 1, behind the start token.
        reached = [(t - distance + 1) // chunk == t // chunk for t in range(length - asked, length)]
        assert in_one_chunk(distance, asked, chunk) == all(reached)


def test_a_model_that_looks_the_answer_up_gains_by_the_passage_and_by_nothing_else():
    passage = bytes(range(1, 1 + PASSAGE))  # no byte twice, so that what followed it is never in doubt
    one = probe("copy", "given", BOOK, rng())._replace(planted=passage, ending=passage)
    given = plant(bytes([255]) * 300, one, 150)
    absent = plant(bytes([255]) * 300, one._replace(planted=b""), 150)
    found = ask(Lookup(), [given, absent], PASSAGE - SHOWN)
    assert [answer.right for answer in found] == [PASSAGE - SHOWN, 0]
    sure = math.log2((math.e + 255) / math.e)
    assert found[0].bits == pytest.approx((PASSAGE - SHOWN) * sure, rel=1e-5)
    assert found[0].rank == 1 and found[0].first == PASSAGE - SHOWN


def test_the_score_is_that_of_the_model_read_byte_by_byte():
    model = megalodon(256)
    texts = [plant(BACKGROUND, probe("passkey", name, BOOK, rng()), 100) for name in ("given", "other")]
    found = ask(model, texts, DIGITS, range(48, 58), tokens_at_once=70)
    for text, answer in zip(texts, found, strict=True):
        logits, _ = model(torch.tensor([[0, *text[:-1]]]))
        last, wanted = logits[0, -DIGITS:].detach(), list(text[-DIGITS:])
        chosen = last.log_softmax(-1)[range(DIGITS), wanted]
        assert answer.bits == pytest.approx(-chosen.sum().item() / math.log(2), rel=1e-5)
        assert answer.right == sum(int(row.argmax()) == byte for row, byte in zip(last, wanted, strict=True))
        ranks = [
            1 + sum(row[48 + d] > row[byte] for d in range(10)).item() for row, byte in zip(last, wanted, strict=True)
        ]
        assert answer.rank == pytest.approx(sum(ranks) / DIGITS) and answer.first == ranks.count(1)


def test_asking_for_more_bytes_than_there_are_is_refused():
    with pytest.raises(ValueError, match="asked must be at most the 3 bytes"):
        ask(megalodon(256), [b"abc"], 4)
