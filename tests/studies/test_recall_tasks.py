"""The sequences of the tasks are what their definitions say: a solver that reads them is always right."""

import numpy as np
import pytest
import torch
from tiny_recallers import Lookup, megalodon, transformer

from megalodon_edu.studies import associative_recall as mqar
from megalodon_edu.studies import induction
from megalodon_edu.studies.associative_recall import associative_recall_batch
from megalodon_edu.studies.induction import induction_batch
from megalodon_edu.studies.recall_task import answers, logits_at


def rng(seed=0):
    return np.random.default_rng(seed)


def test_an_induction_sequence_has_two_triggers_and_asks_for_what_followed_the_first():
    batch = induction_batch(200, 20, rng())
    assert batch.tokens.shape == (200, 20) and batch.tokens.dtype == torch.int64
    assert batch.rows.tolist() == list(range(200)) and set(batch.places.tolist()) == {19}
    for row, answer, distance in zip(
        batch.tokens.tolist(), batch.answers.tolist(), batch.distances.tolist(), strict=True
    ):
        first, last = (place for place, token in enumerate(row) if token == induction.TRIGGER)
        assert last == 19 and row[first + 1] == answer < induction.SYMBOLS
        assert distance == last - (first + 1)
    assert set(batch.distances.tolist()) == set(range(1, 19)), "some distance is never drawn"
    assert set(batch.answers.tolist()) == set(range(16))


def test_the_shortest_and_the_longest_distance_of_an_induction_sequence():
    for distance in (1, 8):
        batch = induction_batch(5, 10, rng(), distance)
        assert (batch.tokens[:, 8 - distance] == induction.TRIGGER).all()
        assert torch.equal(batch.tokens[:, 9 - distance], batch.answers)
    for distance in (0, 9):
        with pytest.raises(ValueError, match="distance must lie in 1 .. length - 2 = 8"):
            induction_batch(5, 10, rng(), distance)


def solved(row, place):
    """What the definition of MQAR says: the token behind the first appearance of the key."""
    return row[row.index(row[place]) + 1]


def test_every_question_of_associative_recall_can_be_answered_from_its_pair_and_nothing_contradicts_it():
    batch = associative_recall_batch(50, 64, 8, rng())
    rows = batch.tokens.tolist()
    assert len(batch.rows) == 50 * 8
    for at, place, answer, distance in zip(*(part.tolist() for part in batch[1:]), strict=True):
        row = rows[at]
        assert solved(row, place) == answer
        assert row[place - distance] == answer
        assert row.count(row[place]) == 2 and row.count(answer) == 1
    for row in rows:
        assert all(0 < key < mqar.FIRST_VALUE for key in row[0:16:2])
        assert all(mqar.FIRST_VALUE <= value < mqar.VOCABULARY for value in row[1:16:2])
        assert sorted(token for token in row[16:] if token) == sorted(row[0:16:2])
        assert all(token == mqar.BLANK for token in row[17::2])


def test_a_full_sequence_of_associative_recall_leaves_no_slot_free():
    batch = associative_recall_batch(3, 256, 64, rng())
    assert (batch.tokens[:, 128::2] != mqar.BLANK).all()


def test_questions_are_frequent_near_the_pairs_in_proportion_to_the_power_law():
    batch = associative_recall_batch(20_000, 34, 1, rng())
    share = torch.bincount((batch.places - 2) // 2, minlength=16) / 20_000
    expected = torch.arange(1, 17, dtype=torch.float64) ** (mqar.POWER - 1)
    assert torch.allclose(share.double(), expected / expected.sum(), atol=0.012)


def test_a_batch_depends_on_its_seed_alone():
    for make in (
        lambda seed: induction_batch(4, 16, rng(seed)),
        lambda seed: associative_recall_batch(4, 16, 3, rng(seed)),
    ):
        assert all(map(torch.equal, make(1), make(1)))
        assert not torch.equal(make(1).tokens, make(2).tokens)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 16, 5), "length must be at least 20"),
        ((1, 15, 2), "length must be even"),
        ((1, 600, 128), "at most the 127"),
    ],
)
def test_sizes_that_allow_no_sequence_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        associative_recall_batch(*arguments, rng())


def test_answers_in_one_chunk_are_told_from_those_beyond():
    batch = induction_batch(3, 16, rng(), 7)  # question at 15, answer at 8
    assert batch.in_one_chunk(8).all() and not batch.in_one_chunk(4).any()
    assert not induction_batch(3, 16, rng(), 8).in_one_chunk(8).any()


def test_a_model_that_looks_the_answer_up_is_always_right_and_a_new_one_is_right_by_chance():
    batch = associative_recall_batch(20, 32, 4, rng())
    assert torch.equal(answers(Lookup(), batch), batch.answers)
    many = induction_batch(2000, 8, rng())
    share = (answers(megalodon(induction.VOCABULARY), many) == many.answers).float().mean().item()
    assert share == pytest.approx(induction.CHANCE, abs=0.025)


@pytest.mark.parametrize("build", [megalodon, transformer])
def test_the_answers_do_not_depend_on_how_much_is_read_at_once(build):
    model = build(mqar.VOCABULARY)
    batch = associative_recall_batch(5, 40, 6, rng())
    whole, _ = model(batch.tokens)
    wanted = whole[batch.rows, batch.places]
    for at_once in (1, 50, 90, 10_000):
        found = torch.full_like(wanted, float("nan"))
        for some, logits in logits_at(model, batch.tokens, batch.rows, batch.places, at_once):
            found[some] = logits
        assert torch.allclose(found, wanted, atol=1e-5)
    assert not model.training and torch.equal(answers(model, batch, 90), wanted.argmax(-1))
