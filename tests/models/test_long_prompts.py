"""Prompts that are longer than one piece."""

import importlib

import pytest
import torch

from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, TransformerConfig, generate

SIZES = {"num_layers": 1, "model_dim": 8, "ffn_hidden_dim": 8, "num_heads": 1}
EXTRA = {"z_dim": 4, "value_dim": 8, "cema_ndim": 2, "chunk_size": 8, "norm_num_groups": 2}
module = importlib.import_module("megalodon_edu.models.generate")  # the package shows its function by that name


def megalodon():
    torch.manual_seed(0)
    return Megalodon(MegalodonConfig(**SIZES, **EXTRA))


def transformer():
    torch.manual_seed(0)
    return Transformer(TransformerConfig(**SIZES, context_size=16))


@pytest.mark.parametrize("build", [megalodon, transformer])
def test_a_long_prompt_is_read_in_pieces_and_gives_the_same_text(build, monkeypatch):
    model, prompt = build().double(), torch.arange(30)
    expected = generate(model, prompt, 20, seed=3).tokens
    read = []
    model.register_forward_pre_hook(lambda model, inputs: read.append(inputs[0].shape[1]))
    monkeypatch.setattr(module, "PIECE", 12)
    found = generate(model, prompt, 20, seed=3).tokens
    assert torch.equal(found, expected)
    assert read == [12, 12, 6] + [1] * 19


def test_ctrl_c_while_a_prompt_is_read_returns_no_text(monkeypatch):
    def press_ctrl_c(model, inputs):
        raise KeyboardInterrupt

    model = megalodon()
    model.register_forward_pre_hook(press_ctrl_c)
    monkeypatch.setattr(module, "PIECE", 12)
    found = generate(model, torch.arange(30), 20)
    assert found.interrupted and found.tokens.tolist() == []
