"""Bytes from a process that cannot be trusted: they become plain values, or an error, and nothing else."""

import json
import pickle

import pytest
import torch

from megalodon_edu.classroom.wire import LENGTHS, MOST_TEXT, Objects, WireError, lengths, pack, unpack


def objects():
    return Objects(lambda reference: reference, lambda value: None)


def received(node, numbers=b""):
    return unpack(json.dumps({"value_": node}).encode(), numbers, objects())["value_"]


def test_values_survive():
    sent = pack({"do": "call", "value_": (torch.arange(3), [1.5, None])}, objects())
    text, numbers = lengths(sent[: LENGTHS.size])
    rest = sent[LENGTHS.size :]
    message = unpack(rest[:text], rest[text : text + numbers], objects())
    assert message["do"] == "call" and message["value_"][1] == [1.5, None]
    assert torch.equal(message["value_"][0], torch.arange(3))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"1", b"[]", b"{", b"\xff", b'{"a_": ["tensor"]}', b"[" * 100_000, pickle.dumps(print),
        b'{"a_": 1' + b"0" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_message_is_an_error(text):
    with pytest.raises(WireError):
        unpack(text, b"", objects())


@pytest.mark.parametrize(
    "node",
    [
        ["unknown"], ["tensor", "float32", [1]], ["tensor", "float32", [-1]], ["tensor", "float32", [2**40, 2**40]],
        ["tensor", "object", []], ["tensor", "float32", [1.0]], ["tensor", "float32", [[1]]], ["yours", 0],
        ["yours", "x"], ["mine", 1, "code", "x", []], ["mine", "1", "call", "x", []], ["config", {"num_layers": 1}],
        ["dtype", "float128"], ["complex", "x", 1], ["tuple"], ["tuple", 3], ["dict", [1]], {"a": 1}, [[]],
        ["list", [["mine", 1, "call", "x", []]] * 2000], ["list", [0] * 200_000],
    ],
)  # fmt: skip
def test_a_part_that_is_none_of_the_known_ones_is_an_error(node):
    with pytest.raises(WireError):
        received(node)


def test_nothing_is_allocated_before_the_bounds_are_checked():
    with pytest.raises(WireError, match="too large"):
        lengths(LENGTHS.pack(MOST_TEXT + 1, 0))
    with pytest.raises(WireError, match="larger than its numbers"):
        received(["tensor", "float64", [2**60]])
    with pytest.raises(WireError, match="more numbers than tensors"):
        received(None, b"12345678")


def test_a_boolean_is_true_or_false():
    found = received(["tensor", "bool", [3]], bytes([0, 1, 7]))
    assert found.tolist() == [False, True, True] and torch.equal(found, torch.tensor([False, True, True]))


def test_names_of_classes_are_words():
    shown = received(["mine", 4, "object", "<script>", []])
    assert (shown.number, shown.name) == (4, "object")
    assert received(["mine", 4, "object", "Memory", []]).name == "Memory"
