"""The ablations: every variant is what it says, budgets are equal, results are paired and can be taken up."""

import json
import math

import pytest
import torch

from megalodon_edu.models import Megalodon
from megalodon_edu.studies.ablations import BASE, FULL, VARIANTS, configuration, record, summary, table
from megalodon_edu.studies.text_run import TextBudget
from megalodon_edu.training.gradient import RecordedGradient, accumulate_gradient

CPU = torch.device("cpu")


def parameters(name):
    with torch.device("meta"):
        return Megalodon(configuration(name)).parameter_count()


def test_every_variant_differs_from_the_full_model_as_its_changes_say():
    assert configuration(FULL) == BASE
    for name, variant in VARIANTS.items():
        changed = {key for key, value in configuration(name).to_dict().items() if value != getattr(BASE, key)}
        assert changed - {"ffn_hidden_dim"} == set(variant.changes), name
    with pytest.raises(ValueError, match="name must be one of full, real-ema"):
        configuration("no-such-part")


def test_sizes_are_small_and_equal_where_they_are_said_to_be():
    full = parameters(FULL)
    assert 3e6 < full < 10e6
    assert parameters("no-attention") < 0.6 * full
    assert parameters("no-attention-wide") == pytest.approx(full, rel=1e-3)
    for name in ("layer-norm", "decay-norm", "pre-norm", "unnormalized", "chunk-64", "chunk-1024"):
        assert parameters(name) == full


def test_a_quick_study_from_nothing_to_its_table(tmp_path, in_this_process, capsys):
    record(tmp_path, CPU, seeds=[0, 1], only=["layer-norm", "no-ema"], quick=True)
    assert in_this_process == ["full-0", "no-ema-0", "layer-norm-0", "full-1", "no-ema-1", "layer-norm-1"]
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["complete"] and list(about["variants"]) == ["full", "no-ema", "layer-norm"]
    assert about["variants"]["full"]["difference_to_full"] is None
    scores = {name: about["variants"][name]["bits_per_byte"]["seeds"] for name in about["variants"]}
    found = about["variants"]["no-ema"]["difference_to_full"]
    for seed in ("0", "1"):
        one = json.loads((tmp_path / f"no-ema-{seed}.json").read_text())
        assert one["validation"]["bits_per_byte"] == scores["no-ema"][seed]
        assert found["seeds"][seed] == pytest.approx(scores["no-ema"][seed] - scores["full"][seed])
    assert found["low"] < found["mean"] < found["high"]
    windows = {json.loads((tmp_path / f"{name}-1.json").read_text())["windows"]["seed"] for name in scores}
    assert windows == {1}
    assert "layer-norm" in capsys.readouterr().out

    in_this_process.clear()
    record(tmp_path, CPU, seeds=[0, 1], only=["layer-norm", "pre-norm"], quick=True)
    assert in_this_process == ["pre-norm-0", "pre-norm-1"]
    with pytest.raises(ValueError, match="made with other settings"):
        record(tmp_path, CPU, seeds=[0], only=["pre-norm"], learning_rate=1e-4, quick=True)
    with pytest.raises(ValueError, match="only must be one of full, real-ema"):
        record(tmp_path, CPU, only=["nothing"], quick=True)


def made(score):
    return {
        "parameters": 100,
        "run": {"config": {}},
        "diverged": None if score else "it blew up",
        "validation": {"bits_per_byte": score} if score else None,
    }


def test_a_variant_that_diverged_is_named_and_left_out_of_the_means():
    found = {"full-0": made(1.5), "full-1": made(1.6), "unnormalized-0": made(1.7), "unnormalized-1": made(None)}
    said = summary(found, ["full", "unnormalized", "no-ema"], [0, 1])
    assert list(said) == ["full", "unnormalized"]
    bare = said["unnormalized"]
    assert bare["diverged"] == {"1": "it blew up"} and bare["bits_per_byte"]["seeds"] == {"0": 1.7}
    assert bare["difference_to_full"]["mean"] == pytest.approx(0.2) and bare["difference_to_full"]["low"] is None
    assert "diverged: seeds 1" in table(said)


def test_a_budget_counts_all_bytes_that_are_read():
    assert TextBudget(1000, 32, 2048, 100, 50).tokens == 65_536_000


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_on_a_gpu_and_its_gradient_can_be_recorded(name, compiled):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Megalodon(configuration(name)).cuda()
    batch = torch.randint(0, 256, (2, 2049), device="cuda")
    plain = accumulate_gradient(model, batch, 1, torch.bfloat16).item()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert math.isfinite(plain) and expected.isfinite().all()
    gradient = RecordedGradient(model, 1, torch.bfloat16, torch.compile(model.loss) if compiled else model.loss)
    for _ in range(2):
        assert gradient(batch).item() == pytest.approx(plain, rel=1e-2)
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert (found - expected).norm() < 5e-2 * expected.norm()
