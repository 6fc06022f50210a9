import pytest
import torch
from tiny_models import document

from megalodon_edu.training.windows import RandomWindows, concatenate, to_device


def test_documents_are_joined_each_after_a_start_token():
    assert bytes(concatenate([document(b"whales"), document(b"a")]).tolist()) == b"\0whales\0a"
    with pytest.raises(ValueError, match="documents must hold at least one document, got none"):
        concatenate([])


def test_a_window_may_cross_from_one_document_into_the_next():
    tokens = concatenate([document(b"ab"), document(b"c"), document(b"d")])
    batch = RandomWindows(tokens, batch=100, length=4)(0)
    assert {bytes(row) for row in batch.tolist()} == {b"\0ab\0c", b"ab\0c\0", b"b\0c\0d"}


def test_a_batch_is_cut_from_the_text(tokens):
    batch = RandomWindows(tokens, batch=3, length=7, seed=1)(0)
    assert batch.shape == (3, 8) and batch.dtype == torch.int64
    text = bytes(tokens.tolist())
    assert all(bytes(row.tolist()) in text for row in batch)


def test_the_batch_depends_on_seed_and_step_only(tokens):
    windows = RandomWindows(tokens, batch=8, length=7, seed=1)
    again = RandomWindows(tokens, batch=8, length=7, seed=1)
    windows(0), windows(1)
    assert torch.equal(windows(2), again(2))
    assert not torch.equal(windows(2), windows(3))
    assert not torch.equal(windows(2), RandomWindows(tokens, batch=8, length=7, seed=2)(2))


def test_every_place_of_the_text_is_reached():
    tokens = torch.arange(6, dtype=torch.uint8)
    batch = RandomWindows(tokens, batch=400, length=3)(0)
    assert {tuple(row) for row in batch.tolist()} == {(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)}


def test_a_window_may_be_the_whole_text():
    tokens = torch.arange(6, dtype=torch.uint8)
    assert RandomWindows(tokens, batch=1, length=5)(9).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_the_description_tells_texts_apart(tokens):
    first = RandomWindows(tokens, batch=2, length=3).description()
    assert first == RandomWindows(tokens.clone(), batch=2, length=3).description()
    changed = tokens.clone()
    changed[5] += 1
    assert first["text_sha256"] != RandomWindows(changed, batch=2, length=3).description()["text_sha256"]


def test_a_batch_reaches_the_device(tokens):
    batch = RandomWindows(tokens, batch=2, length=3)(0)
    assert torch.equal(to_device(batch, torch.device("cpu")), batch)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch": 0}, ValueError, "batch must be at least 1, got 0"),
        ({"length": 2.5}, TypeError, "length must be an integer, got 2.5"),
        ({"length": 6}, ValueError, "length must be at most 5, one less than the text has tokens, got 6"),
        ({"seed": -1}, ValueError, "seed must lie between 0 and 4294967295, got -1"),
        ({"tokens": torch.zeros(2, 3, dtype=torch.uint8)}, ValueError, r"tokens must have the shape \(time\)"),
        ({"tokens": torch.zeros(6)}, TypeError, "tokens must be uint8"),
        ({"tokens": b"bytes"}, TypeError, "tokens must be a torch tensor"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    arguments = {"tokens": torch.arange(6, dtype=torch.uint8), "batch": 1, "length": 3, "seed": 0, **changes}
    with pytest.raises(error, match=message):
        RandomWindows(**arguments)
