"""Where a step's time goes: forward and backward count for the part that did the work, and nothing is left behind."""

import json
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from megalodon_edu.measure import step_profile as module
from megalodon_edu.measure.step_profile import (
    ATTENTION,
    CEMA,
    GROUPS,
    LOSS,
    NORMS,
    PRODUCTS,
    REST,
    SCOPE,
    TORCH,
    UPDATE,
    group_of_kernel,
    step_profile,
)
from megalodon_edu.models import Megalodon
from megalodon_edu.training.situation import situation

SMALL = replace(situation("cpu").config, num_layers=1, model_dim=16, z_dim=8, value_dim=16, ffn_hidden_dim=16)


def profiled(**changes):
    torch.manual_seed(0)
    model = Megalodon(replace(SMALL, **changes), backend="torch")
    batch = torch.randint(1, 256, (2, 129))
    return model, step_profile(model, batch, TORCH, "float32", steps=1, repeats=1)


def test_every_part_takes_time_and_the_parts_make_the_step():
    model, found = profiled()
    assert tuple(found.groups) == GROUPS and all(value > 0 for value in found.groups.values())
    assert found.tokens == 2 * 128 and found.kernels == {}
    assert found.tokens_per_second == pytest.approx(1e3 * found.tokens / found.milliseconds)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert "attended" not in vars(model.layers[0].attention) and not {"loss", "hidden"} & set(vars(model))


def test_most_of_a_huge_head_forward_and_backward_is_the_loss():
    groups = profiled(vocab_size=60_000)[1].groups
    assert groups[LOSS] > 0.5 * (sum(groups.values()) - groups[UPDATE])


def event(name, around=None, sequence=-1, host=0.0, start=0, kernels=(), device="CPU", took=0.0):
    return SimpleNamespace(
        name=name,
        cpu_parent=around,
        sequence_nr=sequence,
        self_cpu_time_total=host,
        device_type=SimpleNamespace(name=device),
        kernels=[SimpleNamespace(duration=duration) for duration in kernels],
        time_range=SimpleNamespace(start=start, elapsed_us=lambda: took),
    )


@pytest.fixture
def events():
    """A norm, then a product whose node has the number 7; its way back; the update; something outside."""
    norm, product, update = (event(SCOPE + group) for group in (NORMS, PRODUCTS, UPDATE))
    undo = event("autograd::engine::evaluate_function: MmBackward0", sequence=7, start=20)
    return [
        event("aten::to", norm, sequence=7, host=100, start=1, kernels=[1000]),
        event("aten::mm", product, sequence=7, host=200, start=2, kernels=[2000]),
        norm, product, update, undo,
        event("aten::mm", undo, host=400, start=21, kernels=[4000]),
        event("aten::_fused_adamw_", update, host=50, start=30, kernels=[500]),
        event("aten::zeros", host=30, start=31, kernels=[300]),
    ]  # fmt: skip


def test_the_way_back_belongs_to_the_part_that_made_its_node(events):
    found = module._by_part(events, 1, all_kernels=0.0)
    assert found == pytest.approx({NORMS: 0.1, PRODUCTS: 0.6, UPDATE: 0.05, REST: 0.03})
    assert module._by_part(events, 2, all_kernels=0.0)[PRODUCTS] == pytest.approx(0.3)


def test_on_a_gpu_the_kernels_count_and_those_without_a_name_are_in_the_rest(events):
    found = module._by_part(events, 1, all_kernels=8.0)
    assert found == pytest.approx({NORMS: 1.0, PRODUCTS: 6.0, UPDATE: 0.5, REST: 0.3 + 0.2})
    seen = [
        event("_walk_kernel", device="CUDA", took=30.0),
        event("gemm", device="CUDA", took=50.0),
        event("_walk_kernel", device="CUDA", took=30.0),
        event("aten::mm"),
    ]
    named = event(SCOPE + CEMA, device="CUDA", took=99.0)
    step = event("Optimizer.step#AdamW.step", device="CUDA", took=99.0)
    other = event("ProfilerStep#1", device="CUDA", took=99.0)
    other.is_user_annotation = True
    assert module._kernels([*seen, named, step, other], steps=2) == {"_walk_kernel": 0.03, "gemm": 0.025}


@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_kernels_are_known_by_their_names():
    names = {
        "_walk_kernel": CEMA,
        "_walk_kernel_0": CEMA,
        "_scan_statistics": NORMS,
        "_output_kernel": ATTENTION,
        "_losses_and_gradients": LOSS,
        "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT": PRODUCTS,
        "sm80_xmma_gemm_bf16bf16_bf16f32": PRODUCTS,
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedAdamMathFunctor>": UPDATE,
        "triton_poi_fused_mul_silu_3": REST,
        "Memset (Device)": REST,
    }
    assert {name: group_of_kernel(name) for name in names} == names


def test_the_command_writes_a_recording(tmp_path, monkeypatch, capsys):
    tiny = replace(situation("cpu"), config=SMALL, batch=2, length=70)
    monkeypatch.setattr(module, "situation", lambda name: tiny)
    module.main(["--out", str(tmp_path / "run.json"), "--ways", TORCH, "--steps", "1", "--device", "cpu"])
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["config"] == SMALL.to_dict() and about["command"].startswith("python -m megalodon_edu.")
    monkeypatch.setattr(module, "recording", lambda name: SimpleNamespace(about=about))
    (one,) = module.recorded()
    assert one.way == TORCH and one.tokens == 140 and set(one.groups) == set(GROUPS)
    assert "PyTorch: " in capsys.readouterr().out


def test_impossible_numbers_are_refused():
    model = Megalodon(SMALL, backend="torch")
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        step_profile(model, torch.ones(1, 9, dtype=torch.long), TORCH, steps=0)
