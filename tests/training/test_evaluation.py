import math

import pytest
import torch
from tiny_models import build_megalodon, build_transformer, document

from megalodon_edu.models import NormTruncation
from megalodon_edu.training import evaluation
from megalodon_edu.training.evaluation import byte_losses, evaluate

TEXT = b"Call me Ishmael. Some years ago - never mind how long precisely - having little or no money"


def probability(model, context, byte):
    """p(byte | context), the whole context read at once."""
    logits, _ = model(torch.tensor([list(context)]))
    return logits[0, -1].softmax(-1)[byte].item()


@pytest.mark.parametrize("length", [1, 4, 5, 40, 90])
def test_a_stream_scores_every_byte_from_all_before_it(length, monkeypatch):
    monkeypatch.setattr(evaluation, "PIECE", 7)
    model, text = build_megalodon().double().eval(), TEXT[:length]
    with torch.inference_mode():
        expected = [-math.log(probability(model, b"\0" + text[:t], text[t])) for t in range(length)]
        found = byte_losses(model, text)
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 12, 13, 40, 67, 90])
@pytest.mark.parametrize("context", [1, 7, 8])
def test_windows_score_every_byte_once_from_half_a_context_or_more(length, context):
    model, text = build_transformer(context_size=context).double().eval(), TEXT[:length]
    inputs = b"\0" + text[:-1]
    stride = max(1, context // 2)
    with torch.inference_mode():
        found = byte_losses(model, text).tolist()
        expected = []
        for t in range(length):
            # The window that first holds byte t ends at the first of context, context + stride, ... beyond t.
            end = min(length, max(context, context + math.ceil((t + 1 - context) / stride) * stride))
            begin = max(0, end - context)
            expected.append(-math.log(probability(model, inputs[begin : t + 1], text[t])))
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_sliding_window_streams(monkeypatch):
    monkeypatch.setattr(evaluation, "PIECE", 7)
    model = build_transformer(window=6, num_layers=1).double().eval()
    with torch.inference_mode():
        found = byte_losses(model, TEXT).tolist()
        inputs = b"\0" + TEXT[:-1]
        expected = [-math.log(probability(model, inputs[max(0, t - 5) : t + 1], TEXT[t])) for t in range(len(TEXT))]
    assert found == pytest.approx(expected, rel=1e-6)


def test_truncated_statistics_change_the_score_only_after_their_first_chunks():
    model = build_megalodon().double().eval()
    truncation = NormTruncation(step=1, keep=2, after=4)
    with torch.inference_mode():
        plain, found = byte_losses(model, TEXT), byte_losses(model, TEXT, truncation=truncation)
    assert len(found) == len(TEXT)
    torch.testing.assert_close(found[:16], plain[:16])
    assert (found[16:] - plain[16:]).abs().max() > 1e-6
    whole = evaluate(model, [document(TEXT)], truncation=truncation)
    assert whole.scores[0].bits == pytest.approx(found.sum().item() / math.log(2), rel=1e-6)
    with pytest.raises(TypeError, match="truncation needs a Megalodon, which has norm statistics, got Transformer"):
        byte_losses(build_transformer(), TEXT, truncation=truncation)


def test_the_score_is_the_mean_over_all_bytes_of_all_documents():
    model = build_megalodon()
    documents = [document(TEXT, title="Long"), document(TEXT[20:30], title="Short")]
    result = evaluate(model, documents)
    with torch.inference_mode():
        nats = [byte_losses(model.eval(), text.text).double().sum().item() for text in documents]
    assert [score.bits for score in result.scores] == pytest.approx([value / math.log(2) for value in nats])
    assert result.bits_per_byte == pytest.approx(sum(nats) / math.log(2) / (len(TEXT) + 10))
    assert result.scores[1].bits_per_byte == pytest.approx(nats[1] / math.log(2) / 10)
    assert (result.scored, result.complete) == (len(TEXT) + 10, True)
    assert [score.title for score in result.scores] == ["Long", "Short"]


def test_an_untrained_model_with_equal_logits_needs_eight_bits():
    model = build_megalodon()
    torch.nn.init.zeros_(model.output.weight)
    assert evaluate(model, [document(TEXT)]).bits_per_byte == pytest.approx(8)


def test_a_quick_look_reads_the_beginnings_and_says_so():
    model = build_megalodon()
    quick = evaluate(model, [document(TEXT), document(TEXT[:10])], max_bytes=20)
    assert [score.scored for score in quick.scores] == [20, 10]
    assert [score.size for score in quick.scores] == [len(TEXT), 10]
    assert not quick.complete
    assert quick.scores[0].bits == pytest.approx(evaluate(model, [document(TEXT[:20])]).scores[0].bits)


def test_documents_do_not_see_each_other():
    model, texts = build_megalodon(), [document(TEXT[:40]), document(TEXT[40:])]
    forwards, backwards = evaluate(model, texts), evaluate(model, texts[::-1])
    assert forwards.scores == backwards.scores[::-1]


def test_the_model_stays_in_its_mode_without_gradients():
    model = build_megalodon(dropout=0.5).train()
    first = evaluate(model, [document(TEXT)])
    assert model.training and first == evaluate(model, [document(TEXT)])
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    evaluate(model, [document(TEXT)])
    assert not model.training


def test_what_cannot_be_scored_is_refused():
    model = build_megalodon()
    with pytest.raises(ValueError, match="documents must hold at least one document, got none"):
        evaluate(model, [])
    with pytest.raises(ValueError, match="text must hold at least one byte, got none"):
        evaluate(model, [document(b"")])
    with pytest.raises(ValueError, match="max_bytes must be at least 1, got 0"):
        evaluate(model, [document(TEXT)], max_bytes=0)
    with pytest.raises(ValueError, match="precision must be one of"):
        evaluate(model, [document(TEXT)], precision="int8")
    with pytest.raises(ValueError, match="must not hold the byte 0"):
        byte_losses(model, b"a\0b")


@pytest.mark.parametrize("build", [build_megalodon, build_transformer])
def test_the_bytes_told_add_up_to_the_bytes_scored(build):
    told = []
    result = evaluate(build(), [document(b"whales " * 9), document(b"and ships")], on_bytes=told.append)
    assert sum(told) == result.scored == 72
