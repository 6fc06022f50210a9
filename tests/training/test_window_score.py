import math

import pytest
import torch
from tiny_models import build_megalodon, build_transformer, document
from torch.nn import functional as F

from megalodon_edu.data import START
from megalodon_edu.training.window_score import evaluate_windows


@pytest.mark.parametrize("build", [build_megalodon, build_transformer])
def test_the_second_half_of_every_window_counts_once(build):
    model = build().double().eval()
    texts = [bytes(range(65, 65 + length)) for length in (3, 8, 9, 25)]
    found = evaluate_windows(model, [document(text) for text in texts], window=8)
    bits, scored = [], []
    for text in texts[1:]:  # the first is shorter than a window
        tokens = torch.tensor([START, *text])
        total = count = 0
        for start in range(0, len(tokens) - 8, 4):
            logits, _ = model(tokens[None, start : start + 8])
            total += F.cross_entropy(logits[0, 4:], tokens[start + 5 : start + 9], reduction="sum").item()
            count += 4
        bits.append(total / math.log(2))
        scored.append(count)
    assert [score.scored for score in found.scores] == scored == [4, 4, 20]
    assert [score.bits for score in found.scores] == pytest.approx(bits, rel=1e-6)


@pytest.mark.parametrize(("window", "words"), [(7, "even"), (0, "at least 2"), (64, "at least 64 bytes")])
def test_what_cannot_be_scored(window, words):
    with pytest.raises(ValueError, match=words):
        evaluate_windows(build_megalodon(), [document(b"short")], window)
