import re

import pytest

from megalodon_edu.plots.state_meter import SHOWN, StateMeter

SIZES = {"Megalodon: state": 250, "Transformer: KV cache": 5000}


def test_bars_are_as_long_as_the_bytes_say_and_never_longer_than_the_meter():
    found = StateMeter(full=1000).html("", SIZES)
    assert re.findall(r"width:([\d.]+)%", found) == ["25.0", "100.0"]
    assert "250 bytes" in found and "5,000 bytes" in found


def test_the_end_of_a_long_text_is_shown_and_no_tag_of_it_is_obeyed():
    text = "x" * SHOWN + "<b>the end"
    found = StateMeter(full=1000).html(text, SIZES)
    assert "&lt;b&gt;the end" in found and "<b>" not in found
    assert found.count("x" * (SHOWN - 10)) == 1 and "x" * SHOWN not in found


def test_without_html_the_numbers_are_there_in_words():
    words = StateMeter(full=1000).words("whales", SIZES)
    assert words.startswith("whales\n") and re.search(r"KV cache +5,000 bytes", words)


def test_a_meter_is_shown_once_and_then_replaced(monkeypatch):
    display = pytest.importorskip("IPython.display", reason="needs the notebook's packages")
    shown, replaced = [], []

    class Handle:
        def update(self, bundle, raw):
            replaced.append(bundle)

    monkeypatch.setattr(display, "display", lambda bundle, raw, display_id: shown.append(bundle) or Handle())
    meter = StateMeter(full=1000)
    for text in ("w", "wh", "wha"):
        meter(text, SIZES)
    assert len(shown) == 1 and [bundle["text/plain"][:3].strip() for bundle in replaced] == ["wh", "wha"]


def test_a_meter_of_nothing_is_refused():
    with pytest.raises(ValueError, match="full must be at least 1, got 0"):
        StateMeter(full=0)
