"""Models with a part changed or left out, for comparison: streaming, state, decoder, exchange at inference."""

from dataclasses import replace

import pytest
import torch

from megalodon_edu import recordings
from megalodon_edu.models import (
    Megalodon,
    MegalodonConfig,
    NormTruncation,
    Transformer,
    TransformerConfig,
    generate,
    has_decoder,
    make_decoder,
    megalodon_state_bytes,
    read_truncated,
    state_bytes,
    transformer_state_bytes,
    with_config,
    with_norm,
)
from megalodon_edu.nn import LayerNorm, PreNormBlock, TimestepDecayNorm

SIZES = {"num_layers": 2, "model_dim": 16, "ffn_hidden_dim": 24, "num_heads": 2, "vocab_size": 32}
EXTRA = {"z_dim": 8, "value_dim": 16, "cema_ndim": 3, "chunk_size": 7, "norm_num_groups": 4}
VARIANTS = {
    "real": {"ema": "real"},
    "no ema": {"ema": "none"},
    "layer norm": {"norm": "layer"},
    "decay norm": {"norm": "decay", "norm_mean_decay": 0.9, "norm_var_decay": 0.95},
    "pre-norm": {"residual": "pre-norm"},
    "no attention": {"attention": False},
    "next to nothing": {"attention": False, "ema": "none", "norm": "layer"},
}


def megalodon(backend="auto", **changes):
    torch.manual_seed(0)
    model = Megalodon(MegalodonConfig(**{**SIZES, **EXTRA, **changes}), backend=backend)
    with torch.no_grad():
        for parameter in model.parameters():  # away from the zeros of the start
            parameter += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


def transformer(**changes):
    torch.manual_seed(0)
    return Transformer(TransformerConfig(**{**SIZES, "kv_heads": 1, "context_size": 16, **changes})).double().eval()


def text(batch=2, length=40):
    return torch.randint(0, 32, (batch, length), generator=torch.Generator().manual_seed(1))


def in_pieces(model, tokens, cuts=(1, 2, 9, 16, 17, 33)):
    state, found = None, []
    for a, b in zip([0, *cuts], [*cuts, tokens.shape[1]], strict=True):
        logits, state = model(tokens[:, a:b], state)
        found.append(logits)
    return torch.cat(found, 1), state


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_differs_streams_learns_and_sees_no_future(name):
    model, tokens = megalodon(**VARIANTS[name]), text()
    whole, _ = model(tokens)
    assert (whole - megalodon()(tokens)[0]).abs().max() > 1e-3
    torch.testing.assert_close(in_pieces(model, tokens)[0], whole)
    loop = Megalodon(model.config, backend="reference").double()
    loop.load_state_dict(model.state_dict())
    torch.testing.assert_close(loop(tokens)[0], whole)
    changed = tokens.clone()
    changed[0, 17] = (changed[0, 17] + 1) % 32
    difference = (model(changed)[0] - whole)[0].abs().amax(1)
    assert difference[:17].max() < 1e-10 and difference[17] > 1e-6
    model.loss(tokens).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("length", [1, 6, 7, 40])
def test_state_bytes_are_as_computed(name, length):
    model = megalodon(**VARIANTS[name]).float()
    with torch.inference_mode():
        _, state = model(text(length=length))
    assert state_bytes(state) == megalodon_state_bytes(model.config, length, batch=2)


def test_the_parts_are_what_the_configuration_says():
    def names(**changes):
        return {name for name, _ in megalodon(**changes).named_parameters()}

    full = names()
    assert full - names(ema="real") == {f"layers.{i}.attention.cema.theta" for i in (0, 1)}
    assert {name for name in full - names(ema="none")} == {name for name in full if ".cema." in name}
    assert full == names(norm="layer") == names(norm="decay") == names(residual="pre-norm")
    lost = {name.split(".")[3] for name in full - names(attention=False)}
    assert lost == {"wv", "wz", "wr", "wh2", "gamma", "beta"}
    assert isinstance(megalodon(norm="layer").final_norm, LayerNorm)
    assert isinstance(megalodon(norm="decay").layers[1].attention.timenorm, TimestepDecayNorm)
    assert isinstance(megalodon(residual="pre-norm").layers[0], PreNormBlock)


def test_a_real_average_is_the_complex_one_with_all_angles_0():
    model, tokens = megalodon(ema="real"), text()
    state = model(tokens)[1]
    assert all((layer.ema.imag == 0).all() and layer.ema.real.any() for layer in state.layers)
    rotating = megalodon().layers[0].attention.cema
    still = model.layers[0].attention.cema
    with torch.no_grad():
        rotating.theta.fill_(-1e4)  # an angle of sigmoid(-10,000) = 0
        for name in ("alpha", "delta", "omega"):
            getattr(rotating, name).copy_(getattr(still, name))
        rotating.gamma.copy_(torch.cat([still.gamma, torch.ones_like(still.gamma)], -1))
        x = torch.randn(2, 30, 16, dtype=torch.float64)
        torch.testing.assert_close(rotating(x)[0], still(x)[0])


def test_without_any_memory_a_model_sees_its_own_token_only():
    model, tokens = megalodon(**VARIANTS["next to nothing"]), text()
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 32
    difference = (model(changed)[0] - model(tokens)[0]).abs().amax((0, 2))
    assert difference[3] > 1e-3 and difference[4:].max() == 0


def test_without_ema_and_attention_the_norm_still_sees_the_past():
    model, tokens = megalodon(ema="none", attention=False), text()
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 32
    assert (model(changed)[0] - model(tokens)[0])[:, 39].abs().max() > 1e-6


def test_old_configurations_are_megalodon_and_wrong_values_are_named():
    about = recordings.recording("bookworm").about
    old = MegalodonConfig.from_dict(about["config"])
    assert (old.ema, old.norm, old.residual, old.attention) == ("complex", "timestep", "two-hop", True)
    assert MegalodonConfig.from_dict(replace(old, ema="none").to_dict()).ema == "none"
    for changes, message in (
        ({"ema": "imaginary"}, "ema must be one of complex, real, none, got 'imaginary'"),
        ({"norm": "batch"}, "norm must be one of timestep, layer, decay, got 'batch'"),
        ({"residual": "post-norm"}, "residual must be one of two-hop, pre-norm, got 'post-norm'"),
        ({"norm_mean_decay": 1.0}, "mean_decay must lie between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(old, **changes)
    with pytest.raises(TypeError, match="attention must be True or False, got 'no'"):
        replace(old, attention="no")


def test_a_state_of_another_variant_is_refused():
    tokens = text()
    state = megalodon()(tokens)[1]
    with pytest.raises(TypeError, match="state.ema must be None, for this module has no such part"):
        megalodon(ema="none")(tokens, state)
    with pytest.raises(TypeError, match="state.cache is None; pass the whole state"):
        megalodon()(tokens, megalodon(attention=False)(tokens)[1])
    with pytest.raises(TypeError, match="state.norm must be a NoneType"):
        megalodon(norm="layer")(tokens, state)


@pytest.mark.parametrize("changes", [{"ema": "real"}, {"residual": "pre-norm"}])
def test_a_decoder_steps_as_the_variant_does(changes):
    model, tokens = megalodon(**changes), text()
    expected, _ = model(tokens)
    decoder = make_decoder(model, batch=2)
    decoder.load(model(tokens[:, :9])[1])
    found = [decoder.step(token).clone() for token in tokens[:, 9:].unbind(1)]
    torch.testing.assert_close(torch.stack(found, 1), expected[:, 9:])


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: megalodon(ema="none"), "ema='none'"),
        (lambda: megalodon(norm="decay"), "norm='decay'"),
        (lambda: megalodon(norm="layer"), "norm='layer'"),
        (lambda: megalodon(attention=False), "attention=False"),
        (lambda: transformer(window=4), "window=4"),
    ],
)
def test_a_variant_without_a_decoder_says_so_and_still_writes(build, what):
    model = build()
    assert not has_decoder(model) and has_decoder(megalodon()) and has_decoder(transformer())
    with pytest.raises(ValueError, match=f"model has {what}, for which there is no decoder"):
        make_decoder(model)
    assert len(generate(model, text()[0], 5, seed=0).tokens) == 5


@pytest.mark.parametrize("window", [1, 4, 20, 100])
def test_a_window_hides_what_lies_before_it_and_streams(window):
    model, tokens = transformer(num_layers=1, window=window), text()
    whole, _ = model(tokens)
    found, state = in_pieces(model, tokens)
    torch.testing.assert_close(found, whole)
    assert state.layers[0].keys.shape[1] == min(40, window - 1) and state.layers[0].seen == 40
    assert state_bytes(state) == transformer_state_bytes(model.config, 40, batch=2, activation_bytes=8)
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 32
    difference = (model(changed)[0] - whole).abs().amax((0, 2))
    assert difference[3 : min(40, 3 + window)].min() > 1e-9
    assert (difference[3 + window :] == 0).all()


def test_a_window_is_an_option_at_inference_and_positions_go_on():
    """In one layer, the last `window` tokens alone give the same logits: rotary positions count as distances."""
    full, tokens = transformer(num_layers=1), text()
    near = with_config(full, window=6)
    assert near.embed.weight.data_ptr() == full.embed.weight.data_ptr()
    torch.testing.assert_close(with_config(full, window=40)(tokens)[0], full(tokens)[0])
    found, _ = in_pieces(near, tokens)
    for last in (5, 17, 39):
        alone, _ = full(tokens[:, last - 5 : last + 1])
        torch.testing.assert_close(found[:, last], alone[:, -1])
    with pytest.raises(TypeError, match="must be a WindowedCache, got KVCache"):
        near(tokens, full(tokens)[1])


def test_norms_are_exchanged_at_inference_with_shared_weights():
    model, tokens = megalodon(), text()
    slow = with_norm(model, "decay", norm_mean_decay=0.9, norm_var_decay=0.9)
    assert isinstance(slow.final_norm, TimestepDecayNorm) and slow.config.norm_mean_decay == 0.9
    assert not slow.training and slow.final_norm.weight.data_ptr() == model.final_norm.weight.data_ptr()
    assert (slow(tokens)[0] - model(tokens)[0]).abs().max() > 1e-3
    torch.testing.assert_close(with_norm(slow, "timestep")(tokens)[0], model(tokens)[0])
    with pytest.raises(
        ValueError, match="ema='none' needs others: layers.0.attention.cema.alpha, .* train such a model"
    ):
        with_config(model, ema="none")
    with pytest.raises(TypeError, match="model must be a LanguageModel"):
        with_norm(None, "decay")


def test_truncated_statistics_are_those_of_the_last_chunks():
    model, tokens = megalodon(), text(length=7 * 9 + 3)
    truncation = NormTruncation(step=1, keep=2, after=4)
    pieces = list(read_truncated(model, tokens, truncation))
    assert [logits.shape[1] for logits, _ in pieces] == [7] * 9 + [3]
    plain, _ = model(tokens)
    found = torch.cat([logits for logits, _ in pieces], 1)
    torch.testing.assert_close(found[:, :28], plain[:, :28])  # until four chunks have passed
    assert (found[:, 28:] - plain[:, 28:]).abs().max() > 1e-4
    for end in (28, 35, 63):
        state, (_, recent) = pieces[end // 7 - 1][1], model(tokens[:, end - 14 : end])
        torch.testing.assert_close(state.norm, recent.norm)
        torch.testing.assert_close(state.layers[1].norm, recent.layers[1].norm)
        assert state.norm.count.tolist() == [14, 14]
        assert not torch.equal(state.layers[1].ema, recent.layers[1].ema)
    again, _ = model(tokens[:, 63:], pieces[8][1])
    torch.testing.assert_close(again, found[:, 63:])


def test_wrong_truncations_are_named():
    assert NormTruncation() == NormTruncation(step=2, keep=6, after=8)
    with pytest.raises(ValueError, match="keep must be at most after, got keep=9 and after=8 chunks"):
        NormTruncation(keep=9)
    with pytest.raises(TypeError, match="model must be a Megalodon, got Transformer"):
        next(read_truncated(transformer(), text()))
    with pytest.raises(ValueError, match="norm='layer', which keeps no statistics"):
        next(read_truncated(megalodon(norm="layer"), text()))
