"""Whole models on Triton kernels: against the torch faces, in pieces, compiled and under autocast."""

import copy
from functools import partial

import pytest
import torch
from torch.utils import _pytree as pytree

from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, TransformerConfig, make_decoder
from megalodon_edu.nn import MegaGatedAttention, NormalizedAttention

SIZES = {"num_layers": 1, "model_dim": 16, "ffn_hidden_dim": 24, "num_heads": 2, "vocab_size": 32}
VARIANTS = [{}, {"ema": "real", "residual": "pre-norm"}, {"ema": "none", "norm": "layer"}, {"norm": "decay"}]
VARIANTS += [{"attention": False}]
EXTRA = {"z_dim": 32, "value_dim": 64, "cema_ndim": 2, "chunk_size": 8, "norm_num_groups": 2}


def megalodon(device, **changes):
    torch.manual_seed(0)
    config = MegalodonConfig(**{**SIZES, **EXTRA, **changes})
    kernels = Megalodon(config, backend="triton").to(device)
    plain = Megalodon(config, backend="torch").to(device)
    plain.load_state_dict(kernels.state_dict())
    return kernels, plain


def transformer(device):
    torch.manual_seed(0)
    config = TransformerConfig(**SIZES, kv_heads=2, context_size=64)
    kernels = Transformer(config, backend="triton").to(device)
    plain = Transformer(config, backend="torch").to(device)
    plain.load_state_dict(kernels.state_dict())
    return kernels, plain


def text(device, length=21):
    return torch.randint(0, 32, (2, length), generator=torch.Generator().manual_seed(1)).to(device)


def loss_and_gradient(model, tokens, function=None, autocast=False):
    model.zero_grad()
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=autocast):
        loss = (function or model.loss)(tokens)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.dtype == p.dtype for p in model.parameters())
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    "build",
    [
        lambda device: megalodon(device, swiglu=True, share_emb=True),
        *(partial(megalodon, **changes) for changes in VARIANTS[1:]),
        transformer,
    ],
)
def test_loss_and_gradients_are_those_of_the_torch_faces(build, device):
    kernels, plain = build(device)
    found, expected = (loss_and_gradient(model, text(device)) for model in (kernels, plain))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert error(found[1], expected[1]) < 2e-5


@pytest.mark.parametrize("changes", VARIANTS)
def test_pieces_give_the_logits_of_one_call(changes, device):
    kernels, plain = megalodon(device, **changes)
    tokens = text(device)
    with torch.no_grad():
        expected, last = plain(tokens)
        state, found = None, []
        for piece in tokens.split([1, 8, 3, 9], 1):
            logits, state = kernels(piece, state)
            found.append(logits)
    assert error(torch.cat(found, 1), expected) < 2e-5
    leaves = ([part for part in pytree.tree_leaves(whole) if part is not None] for whole in (state, last))
    for a, b in zip(*leaves, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [megalodon, transformer])
def test_a_decoder_goes_on_where_the_kernels_stopped(build, device):
    kernels, plain = build(device)
    tokens = text(device)
    with torch.no_grad():
        expected, _ = plain(tokens)
        decoder = make_decoder(kernels.eval(), batch=2)
        decoder.load(kernels(tokens[:, :17])[1])
        for token in tokens[:, 17:].unbind(1):
            logits = decoder.step(token)
    assert error(logits, expected[:, -1]) < 2e-5


@pytest.mark.parametrize(("build", "autocast"), [(megalodon, True), (transformer, False)])
def test_a_compiled_model_is_one_graph(build, autocast, device):
    torch._dynamo.reset()
    model, _ = build(device)
    tokens = text(device, 11)
    expected = loss_and_gradient(model, tokens, autocast=autocast)
    compiled = torch.compile(model.loss, fullgraph=True, backend="aot_eager")
    found = loss_and_gradient(model, tokens, compiled, autocast)
    tolerance = 3e-2 if autocast else 1e-5
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert error(found[1], expected[1]) < tolerance


def test_attention_with_dropout_or_a_bias_takes_the_torch_face(device):
    torch.manual_seed(0)
    x = torch.randn(1, 9, 16, device=device)
    dropped = NormalizedAttention(16, 8, 16, 1, 2, 4, 2, attention_dropout=0.5, backend="triton").to(device)
    y, _ = dropped(x)
    again, _ = dropped(x)
    assert not torch.equal(y, again)
    biased = MegaGatedAttention(16, 8, 16, 2, 4, backend="triton").to(device)
    plain = copy.deepcopy(biased)
    plain.backend = plain.ema.backend = "torch"
    assert torch.equal(biased(x)[0], plain(x)[0])


def test_float64_is_refused_by_name(device):
    kernels, _ = megalodon(device)
    with pytest.raises(TypeError, match="float32, float16 or bfloat16, got torch.float64"):
        kernels.double()(text(device))


@pytest.mark.gpu
@pytest.mark.parametrize("build", [megalodon, transformer])
def test_a_model_on_a_gpu_runs_kernels_by_itself(build, device, monkeypatch):
    if device.type != "cuda":
        pytest.skip("needs a CUDA GPU")
    kernels, _ = build(device)
    auto = copy.deepcopy(kernels)
    for module in auto.modules():
        if hasattr(module, "backend"):
            module.backend = "auto"
    found, expected = (loss_and_gradient(model, text(device)) for model in (auto, kernels))
    assert found[0] == expected[0] and torch.equal(found[1], expected[1])
    assert auto.double()(text(device))[0].dtype == torch.float64  # the torch face


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("build", [megalodon, transformer])
def test_a_model_compiles_on_a_gpu(build, autocast, device):
    if device.type != "cuda":
        pytest.skip("needs a CUDA GPU")
    torch._dynamo.reset()
    model, plain = build(device)
    tokens = text(device)
    expected = loss_and_gradient(plain, tokens)
    found = loss_and_gradient(model, tokens, torch.compile(model.loss, fullgraph=True), autocast)
    tolerance = 5e-2 if autocast else 2e-5
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert error(found[1], expected[1]) < tolerance
    with torch.no_grad():
        logits, state = torch.compile(model, fullgraph=True)(tokens)
        assert error(logits, plain(tokens)[0]) < 2e-5
        torch.compile(model, fullgraph=True)(tokens[:, :5], state)
