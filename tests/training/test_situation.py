"""The run that suits a machine, chosen from a description of its GPU; what an older GPU would run, tried on the CPU."""

import math
from dataclasses import replace

import pytest
import torch

from megalodon_edu.nn.backend import uses_triton
from megalodon_edu.training.loop import train
from megalodon_edu.training.situation import (
    CPU,
    KERNELS,
    PLAIN,
    SITUATIONS,
    Card,
    choose_situation,
    find_card,
    situation,
    situation_here,
)

H100 = Card("NVIDIA H100 80GB HBM3", (9, 0), 85_017_493_504)
A10 = Card("NVIDIA A10", (8, 6), 24_000_000_000)
T4 = Card("Tesla T4", (7, 5), 15_828_320_256)


def test_each_machine_gets_its_run_and_a_sentence():
    found = {
        KERNELS: choose_situation(H100),
        PLAIN: choose_situation(T4),
        CPU: choose_situation(None),
    }
    assert {name: one.name for name, one in found.items()} == {name: name for name in SITUATIONS}
    assert found[KERNELS].sentence.startswith("NVIDIA H100 80GB HBM3, compute capability 9.0: preset small")
    assert "compute capability 7.5 is below 8.0" in found[PLAIN].sentence and "float32" in found[PLAIN].sentence
    assert found[CPU].sentence.startswith("No GPU") and "recorded" in found[CPU].sentence
    assert all(one.sentence.endswith(".") for one in found.values())
    assert [one.device for one in found.values()] == ["cuda", "cuda", "cpu"]


def test_little_memory_takes_the_batch_in_parts_and_a_missing_triton_the_plain_run():
    assert choose_situation(H100).options.accumulate == 1
    parts = choose_situation(A10)
    assert (parts.name, parts.options.accumulate) == (KERNELS, 4) and "four parts" in parts.sentence
    assert replace(parts.options, accumulate=1) == choose_situation(H100).options
    plain = choose_situation(A10, "the package triton is missing")
    assert plain.name == PLAIN and plain.sentence.endswith("because the package triton is missing.")


def test_a_run_with_kernels_is_the_preset_small_and_ends_in_time():
    found = choose_situation(H100)
    assert found.config == type(found.config).preset("small") and found.model().parameter_count() < 16e6
    assert found.options.max_seconds + 60 < 600 and found.backend == "auto"


def test_this_machine_is_looked_at():
    card = find_card()
    assert (card is None) == (not torch.cuda.is_available())
    assert situation_here().device == ("cpu" if card is None else "cuda")


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of kernels, plain, cpu, got 'tpu'"):
        situation("tpu")


@pytest.mark.parametrize("name", [PLAIN, CPU])
def test_the_run_of_a_machine_without_kernels_trains_in_float32_on_the_torch_face(name, tmp_path):
    """On the CPU, with few and short windows: its model, its options, its arithmetic."""
    found = choose_situation(T4 if name == PLAIN else None)
    small = replace(found, batch=2, length=130, options=replace(found.options, steps=3, max_seconds=None))
    model, rows = small.model(seed=1), []
    assert not uses_triton(model.backend, torch.zeros(1)) and model.backend == "torch"
    seen = set()
    hook = model.layers[0].attention.wz.register_forward_hook(lambda *call: seen.add(call[2].dtype))
    train(model, small.windows(1), small.options, tmp_path, [rows.append], progress_bar=False)
    hook.remove()
    assert seen == {torch.float32}
    assert [row.step for row in rows] == [1, 2, 3] and all(math.isfinite(row.loss) for row in rows)
    assert 8 < rows[0].loss / math.log(2) < 9.5


def test_the_seed_decides_on_weights_and_windows():
    found = choose_situation(None)
    weights = [found.model(seed).embed.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    windows = [found.windows(seed)(0) for seed in (0, 0, 1)]
    assert torch.equal(windows[0], windows[1]) and not torch.equal(windows[0], windows[2])
    assert windows[0].shape == (found.batch, found.length + 1)
