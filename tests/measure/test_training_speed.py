from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from megalodon_edu.measure import training_speed as table
from megalodon_edu.measure.training_speed import BASELINE, Entry, entries, training_speed
from megalodon_edu.models import MegalodonConfig, Transformer, match_transformer

CPU = torch.device("cpu")
TINY = replace(
    MegalodonConfig.preset("tiny"), model_dim=16, z_dim=8, value_dim=12, ffn_hidden_dim=24, num_heads=2, chunk_size=6
)


def rows(lines, shapes=((2, 8),), clock=None):
    clocks = {} if clock is None else {"clock": clock}
    return list(training_speed(TINY, shapes, CPU, torch.float32, lines, repeats=1, **clocks))


def test_the_lines_begin_with_the_baseline():
    ways = [(False, False), (True, False), (True, True)]
    assert [(line.model, line.compiled, line.recompute) for line in entries(True, True)][:7] == [
        *[(BASELINE, *way) for way in ways],
        *[("Megalodon, Triton", *way) for way in ways],
        ("Megalodon, torch", False, False),
    ]
    assert not any(line.compiled or "Triton" in line.model for line in entries(False, False))


def test_models_of_equal_size_do_a_whole_pass():
    found = rows([line for line in entries(False, False) if line.model != table.LLAMA], ((2, 8), (1, 16)))
    assert [(row["model"], row["batch"], row["context"]) for row in found] == [
        *[(BASELINE, 2, 8), (BASELINE, 1, 16), ("Megalodon, torch", 2, 8), ("Megalodon, torch", 1, 16)]
    ]
    for ours, other in zip(found[2:], found[:2], strict=True):
        assert other["ratio"] == 1 and other["parameters"] == pytest.approx(ours["parameters"], rel=0.02)
        assert ours["ratio"] == pytest.approx(ours["tokens_per_second"] / other["tokens_per_second"])
        assert ours["tokens_per_second"] == pytest.approx(16 / ours["seconds"])
        assert ours["peak_bytes"] > 4 * ours["parameters"]  # the gradients alone
        assert ours["how"] == "clock"


def test_the_ratio_is_to_the_better_baseline_line_and_a_failure_is_a_note():
    now = {"now": 0.0}

    def line(name, cost):
        def make(config, context):
            module = torch.nn.Linear(1, 1)

            def loss(tokens, targets):
                if cost is None:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                now["now"] += cost
                return module(torch.ones(1, 1)).sum()

            return module, loss

        return Entry(name, False, make)

    baselines = [line(BASELINE, cost) for cost in (4.0, 2.0, 8.0)]
    lines = [*baselines, line("fast", 1.0), line("large", None)]
    found = rows(lines, clock=lambda: now["now"])
    assert [row["ratio"] for row in found] == [1.0, 1.0, 0.25, 2.0, None]
    assert found[-1]["note"] == "out of memory" and "seconds" not in found[-1]


def test_the_pass_leaves_the_gradients_of_one_batch(monkeypatch):
    made = []

    def make(config, context):
        model = Transformer(match_transformer(config, context_size=context))
        made.append(model)
        return model, model.loss

    rows([Entry(BASELINE, False, make)])
    gradients = [parameter.grad.clone() for parameter in made[0].parameters()]
    torch.manual_seed(0)
    model, loss = make(TINY, 8)
    tokens, targets = torch.randint(1, TINY.vocab_size, (2, 2, 8))
    loss(tokens, targets).backward()
    for parameter, found in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(found, parameter.grad)


def test_empty_shapes_are_refused():
    with pytest.raises(ValueError, match="context must be at least 1, got 0"):
        rows([], ((2, 0),))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_the_baseline_reaches_flash_attention():
    config = replace(MegalodonConfig.preset("200M"), num_layers=1)
    with torch.device("cuda"):
        model = Transformer(match_transformer(config))
        tokens = torch.randint(1, config.vocab_size, (1, 2048))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cuda", torch.bfloat16):
        model.loss(tokens).backward()  # raises where this kernel cannot be used
