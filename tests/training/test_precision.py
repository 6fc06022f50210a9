import pytest
import torch

from megalodon_edu.training import precision
from megalodon_edu.training.precision import autocast, choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_follows_the_hardware_and_says_so(monkeypatch, supported, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": supported})
    chosen, sentence = choose_precision("auto", CPU)
    assert chosen == dtype
    assert str(dtype).removeprefix("torch.") in sentence and sentence.count(".") == 1


def test_a_gpu_needs_compute_capability_8(monkeypatch):
    for capability, expected in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, value=capability: value)
        assert precision.multiplies_bfloat16(torch.device("cuda")) is expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_products_run_in_the_chosen_format(dtype):
    assert choose_precision(str(dtype).removeprefix("torch."), CPU)[0] == dtype
    with autocast(dtype, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, got 'half'"):
        choose_precision("half", CPU)
