"""Every formula against the models themselves, their counted products, and the bytes that they keep."""

from dataclasses import replace

import pytest
import torch

from megalodon_edu.measure import cost_model
from megalodon_edu.measure.flops import count_flops
from megalodon_edu.measure.memory import memory_of, saved_bytes
from megalodon_edu.models import (
    PRESETS,
    Megalodon,
    MegalodonConfig,
    ModelConfig,
    Transformer,
    TransformerConfig,
    match_transformer,
    state_bytes,
)
from megalodon_edu.training.gradient import accumulate_gradient

TINY = MegalodonConfig.preset("tiny")
PLAIN = replace(TINY, swiglu=False, num_heads=2, num_layers=3, chunk_size=64, rescale_nffn=True, share_emb=True)
CONFIGS = {
    "Megalodon": TINY,
    "plain Megalodon": PLAIN,
    "no norm on z": replace(TINY, normalize_z=False),
    "Transformer": match_transformer(TINY),
    "grouped queries": match_transformer(TINY, kv_heads=1),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def build(config):
    torch.manual_seed(0)
    return Megalodon(config) if isinstance(config, MegalodonConfig) else Transformer(config)


def tokens(length):
    return torch.randint(0, 256, (1, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_of_every_preset_and_its_transformer(name):
    config = MegalodonConfig.preset(name)
    rival = match_transformer(config, kv_heads=1)
    with torch.device("meta"):
        assert cost_model.parameters(config) == Megalodon(config).parameter_count()
        assert cost_model.parameters(rival) == Transformer(rival).parameter_count()


@each_config
def test_parameters_of_small_models(config):
    assert cost_model.parameters(config) == build(config).parameter_count()


@each_config
@pytest.mark.parametrize("length", [1, 30, 64, 128, 200, 257])
def test_products_of_a_forward_pass_are_what_pytorch_counts(config, length):
    model = build(config).eval()
    with torch.no_grad():
        counted = count_flops(lambda: model(tokens(length)))
    assert cost_model.forward_flops(config, length, square=True).products == counted


@each_config
@pytest.mark.parametrize("context", [1, 77, 128])
def test_products_of_one_more_token_are_what_pytorch_counts(config, context):
    model = build(config).eval()
    with torch.no_grad():
        _, state = model(tokens(context))
        counted = count_flops(lambda: model(tokens(1), state))
    assert cost_model.next_token_flops(config, context).products == counted


@each_config
def test_a_training_step_costs_three_forward_passes(config):
    model = build(config)
    counted = count_flops(lambda: accumulate_gradient(model, tokens(257), 1, torch.float32))
    forward = cost_model.forward_flops(config, 256, square=True).products
    assert counted == pytest.approx(cost_model.TRAINING_PASSES * forward, rel=0.002)


@each_config
@pytest.mark.parametrize("context", [1024, 2048])
def test_activations_are_what_autograd_saves(config, context):
    model = build(config)
    saved = saved_bytes(lambda: model.loss(tokens(context + 1)), model.parameters())
    assert cost_model.activation_bytes(config, context) == pytest.approx(saved, rel=0.02)


@each_config
def test_a_batch_of_two_keeps_as_much_as_autograd_says(config):
    model, pair = build(config), torch.cat([tokens(1025), tokens(1025)])
    saved = saved_bytes(lambda: model.loss(pair), model.parameters())
    assert cost_model.activation_bytes(config, 1024, batch=2) == pytest.approx(saved, rel=0.02)


@each_config
def test_the_peak_of_a_training_step_lies_just_above_what_is_saved(config):
    model = build(config)
    peak = memory_of(lambda: accumulate_gradient(model, tokens(1025), 1, torch.float32)).peak
    assert 1.0 < peak / cost_model.activation_bytes(config, 1024) < 1.15


@each_config
def test_the_state_is_what_the_model_hands_back(config):
    model = build(config).eval()
    for context in (100, 128, 255):
        with torch.no_grad():
            _, state = model(tokens(context))
        assert cost_model.state_bytes_after(config, context) == state_bytes(state)
        assert state_bytes(state) <= cost_model.most_state_bytes(config, context)


def test_megalodons_state_is_bounded_and_the_cache_is_not():
    assert cost_model.most_state_bytes(TINY, 10**7) == cost_model.most_state_bytes(TINY, 1000)
    rival = CONFIGS["Transformer"]
    assert cost_model.most_state_bytes(rival, 10**7) == 10**4 * cost_model.most_state_bytes(rival, 1000)


def test_pairs_of_six_tokens():
    assert cost_model.attended_pairs(6) == 21
    assert cost_model.attended_pairs(6, 3) == 6 + 6
    assert cost_model.attended_pairs(6, 4) == 10 + 3
    assert cost_model.attended_pairs(6, 4, square=True) == 16 + 4
    assert cost_model.attended_pairs(0) == 0
    for length in range(1, 12):
        counted = sum(1 for t in range(length) for s in range(t + 1) if t // 4 == s // 4)
        assert cost_model.attended_pairs(length, 4) == counted


@pytest.mark.parametrize("config", [TINY, CONFIGS["grouped queries"]], ids=["Megalodon", "Transformer"])
def test_reading_a_text_is_reading_its_tokens_one_by_one(config):
    whole = cost_model.forward_flops(config, 200)
    single = [cost_model.next_token_flops(config, context) for context in range(200)]
    for part in ("projections", "feed_forward", "attention", "head", "norms"):
        assert getattr(whole, part) == sum(getattr(flops, part) for flops in single), part


def test_sharing_keys_saves_projections_and_state_but_no_attention():
    full, shared = (replace(CONFIGS["Transformer"], kv_heads=heads) for heads in (2, 1))
    before, after = (cost_model.forward_flops(config, 100) for config in (full, shared))
    assert after.projections < before.projections
    assert after.attention == before.attention
    assert 2 * cost_model.most_state_bytes(shared, 100) == cost_model.most_state_bytes(full, 100)


def test_first_context_from_which_it_stays_so():
    assert cost_model.first_context([True, False, True, True], [1, 2, 3, 4]) == 3
    assert cost_model.first_context([True, True], [1, 2]) == 1
    assert cost_model.first_context([True, False], [1, 2]) is None
    with pytest.raises(ValueError, match="one entry per context, got 1 for 2"):
        cost_model.first_context([True], [1, 2])


def test_wrong_arguments_are_named():
    bare = ModelConfig(num_layers=1, model_dim=8, ffn_hidden_dim=8, num_heads=1)
    for function in (cost_model.parameters, lambda config: cost_model.forward_flops(config, 8)):
        with pytest.raises(TypeError, match="config must be a MegalodonConfig or a TransformerConfig, got ModelConfig"):
            function(bare)
    with pytest.raises(ValueError, match="context must be at least 1, got 0"):
        cost_model.forward_flops(TINY, 0)
    with pytest.raises(ValueError, match="context must be at least 0, got -1"):
        cost_model.next_token_flops(TransformerConfig(1, 8, 8, 1), -1)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        cost_model.activation_bytes(TINY, 8, batch=0)
