import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megalodon_edu.data import SIX_TOKENS, SIX_VALUES, START, VOCABULARY, to_text, to_tokens


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_text_survives_the_way_to_tokens_and_back(text):
    assert to_text(to_tokens(text)) == text


def test_tokens_are_the_bytes_in_utf8():
    tokens = to_tokens("wal é")
    assert tokens.dtype == np.uint8
    assert tokens.tolist() == [119, 97, 108, 32, 0xC3, 0xA9]
    np.testing.assert_array_equal(tokens, to_tokens("wal é".encode()))
    assert len(to_tokens("")) == 0
    assert START not in tokens and VOCABULARY == 256


def test_tokens_may_be_written_to():
    tokens = to_tokens(b"ab")
    tokens[0] = 99
    assert to_text(tokens) == "cb"


@pytest.mark.parametrize(
    "tokens",
    [b"whales", list(b"whales"), np.frombuffer(b"whales", np.uint8), torch.tensor(list(b"whales"))],
    ids=["bytes", "list", "array", "tensor"],
)
def test_text_from_every_kind_of_tokens(tokens):
    assert to_text(tokens) == "whales"


def test_text_leaves_out_start_tokens_and_replaces_broken_characters():
    assert to_text([START, 97, START, 98]) == "ab"
    assert to_text([97, 0xC3]) == "a�"
    assert to_text([]) == ""


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (b"ab\0c", ValueError, "text must not hold the byte 0.*offset 2.*UTF-16"),
        ("ab\0c", ValueError, "text must not hold the byte 0.*offset 2"),
        ("a\udcff", ValueError, r"text must be valid Unicode, got '\\udcff' at character 1; pass the bytes"),
        (7, TypeError, "text must be str or bytes, got int"),
        (None, TypeError, "text must be str or bytes, got NoneType"),
        ([97], TypeError, "text must be str or bytes, got list; .*to_text"),
    ],
)
def test_to_tokens_refuses(text, error, message):
    with pytest.raises(error, match=message):
        to_tokens(text)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([1, 2, 256], ValueError, "tokens must lie between 0 and 255, got 256 at position 2"),
        ([1, -1], ValueError, "got -1 at position 1"),
        ([[1, 2]], ValueError, r"tokens must have the shape \(time\), got \(1, 2\); take one sequence"),
        (5, ValueError, r"tokens must have the shape \(time\), got \(\)"),
        ([1.5], TypeError, "tokens must be integers from 0 to 255, got float64"),
        ("whales", TypeError, "tokens must be integers.*to_tokens"),
        (None, TypeError, "tokens must be integers"),
    ],
)
def test_to_text_refuses(tokens, error, message):
    with pytest.raises(error, match=message):
        to_text(tokens)


def test_the_worked_example_is_six_tokens_and_six_values():
    assert to_text(SIX_TOKENS) == "whales"
    assert SIX_VALUES == (4.0, 0.0, 0.0, 2.0, 0.0, 0.0)


def test_texts_load_without_torch():
    code = "import sys, megalodon_edu.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
