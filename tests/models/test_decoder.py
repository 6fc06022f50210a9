"""One step on buffers that stay in place, against the model's own forward."""

import pytest
import torch
import torch._dynamo.testing
from torch.utils import _pytree as pytree

from megalodon_edu.models import (
    Megalodon,
    MegalodonConfig,
    Transformer,
    TransformerConfig,
    generate,
    make_decoder,
    state_bytes,
)

SIZES = {"num_layers": 2, "model_dim": 16, "ffn_hidden_dim": 24, "num_heads": 2, "vocab_size": 32}
EXTRA = {"z_dim": 8, "value_dim": 16, "cema_ndim": 3, "chunk_size": 5, "norm_num_groups": 4}


def megalodon(**changes):
    torch.manual_seed(0)
    return Megalodon(MegalodonConfig(**{**SIZES, **EXTRA, **changes})).eval()


def transformer(**changes):
    torch.manual_seed(0)
    return Transformer(TransformerConfig(**{**SIZES, "kv_heads": 1, **changes})).eval()


MODELS = [
    megalodon,
    lambda: megalodon(swiglu=True, rescale_nffn=True, share_emb=True, scale_emb=True),
    lambda: megalodon(normalize_z=False),
    transformer,
    lambda: transformer(kv_heads=2, scale_emb=True),
]


def text(batch=2, length=23):
    return torch.randint(0, 32, (batch, length), generator=torch.Generator().manual_seed(1))


def close(a, b, tolerance=1e-11):
    for left, right in zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True):
        if left is None and right is None:
            continue
        assert left.shape == right.shape and left.dtype == right.dtype
        torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("read", [0, 1, 5, 8])
def test_steps_equal_the_forward(build, read):
    model, tokens = build().double(), text()
    expected, last = model(tokens)
    state = model(tokens[:, :read])[1] if read else None
    decoder = make_decoder(model, batch=2, capacity=4)
    decoder.load(state)
    found = [decoder.step(token).clone() for token in tokens[:, read:].unbind(1)]
    close(torch.stack(found, 1), expected[:, read:])
    close(decoder.state(), last)


@pytest.mark.parametrize("build", MODELS)
def test_the_model_goes_on_from_a_decoder_and_back(build):
    model, tokens = build().double(), text()
    expected, last = model(tokens)
    decoder = make_decoder(model, batch=2, capacity=4)
    for token in tokens[:, :7].unbind(1):
        decoder.step(token)
    logits, state = model(tokens[:, 7:16], decoder.state())
    close(logits, expected[:, 7:16])
    decoder.load(state)
    for token in tokens[:, 16:].unbind(1):
        logits = decoder.step(token)
    close(logits, expected[:, -1])
    close(decoder.state(), last)


@pytest.mark.parametrize("build", [megalodon, transformer])
def test_a_decoder_can_be_used_again(build):
    model, tokens = build().double(), text()
    decoder = make_decoder(model, batch=2, capacity=4)
    first = [decoder.step(token).clone() for token in tokens.unbind(1)]
    decoder.load(None)
    again = [decoder.step(token).clone() for token in tokens.unbind(1)]
    close(again, first)


def test_megalodons_buffers_never_move_or_grow():
    model = megalodon()
    decoder = make_decoder(model, batch=1)
    before = [(buffer.data_ptr(), buffer.shape) for buffer in decoder.buffers()]
    for token in text(1, 40)[0]:
        decoder.step(token[None])
    assert [(buffer.data_ptr(), buffer.shape) for buffer in decoder.buffers()] == before


def test_a_copied_state_stays_as_it_was():
    decoder = make_decoder(megalodon(), batch=2)
    for token in text(2, 7).unbind(1):
        decoder.step(token)
    state = decoder.state()
    before = pytree.tree_map(torch.clone, state)
    decoder.step(torch.tensor([1, 2]))
    close(state, before, 0)
    assert state_bytes(state) > 0


@pytest.mark.parametrize("build", [megalodon, transformer])
def test_generate_with_a_decoder_writes_the_same_text(build):
    model = build().double()
    prompt = text(1, 9)[0]
    plain = generate(model, prompt, 30, seed=4)
    decoder = make_decoder(model, capacity=4)
    for _ in range(2):
        fast = generate(model, prompt, 30, seed=4, decoder=decoder)
        assert torch.equal(plain.tokens, fast.tokens)
        close(fast.state, plain.state)
    first = generate(model, prompt, 11, seed=4, decoder=decoder)
    on = generate(model, first.tokens[-1:], 5, temperature=0, state=first.state, decoder=decoder)
    assert torch.equal(on.tokens, generate(model, first.tokens[-1:], 5, temperature=0, state=first.state).tokens)


@pytest.mark.parametrize("written", [1, 2, 7])
def test_ctrl_c_leaves_a_state_from_which_to_go_on(written):
    model = megalodon().double()
    prompt = text(1, 9)[0]
    tokens = []

    def press_ctrl_c(token):
        tokens.append(token)
        if len(tokens) == written:
            raise KeyboardInterrupt

    found = generate(model, prompt, 30, seed=4, decoder=make_decoder(model), on_token=press_ctrl_c)
    assert found.interrupted and found.tokens.tolist() == tokens
    whole = torch.cat([prompt, found.tokens])[None]
    close(found.state, model(whole[:, :-1])[1])


def test_ctrl_c_before_a_token_is_drawn_draws_it(monkeypatch):
    model = megalodon().double()
    prompt, decoder = text(1, 9)[0], make_decoder(model)
    step, read = decoder.step, []

    def press_ctrl_c(token):
        step(token)
        read.append(token)
        if len(read) == 3:
            raise KeyboardInterrupt

        return decoder.logits

    monkeypatch.setattr(decoder, "step", press_ctrl_c)
    found = generate(model, prompt, 30, seed=4, decoder=decoder)
    assert found.interrupted and len(found.tokens) == 4
    whole = torch.cat([prompt, found.tokens])[None]
    close(found.state, model(whole[:, :-1])[1])


def test_compiled_layers_are_compiled_once_for_all_layers():
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    model, tokens = megalodon(num_layers=5).double(), text()
    decoder = make_decoder(model, batch=2)
    decoder.layer_step = torch.compile(decoder.layer_step, backend=counter, fullgraph=True)
    found = [decoder.step(token).clone() for token in tokens.unbind(1)]
    close(torch.stack(found, 1), model(tokens)[0])
    assert counter.frame_count == 1


def test_what_does_not_fit_is_named():
    model = megalodon()
    with pytest.raises(ValueError, match="model must be in evaluation mode"):
        make_decoder(megalodon().train())
    with pytest.raises(TypeError, match="model must be a LanguageModel"):
        make_decoder(None)
    with pytest.raises(ValueError, match="graph=True needs a model on a CUDA GPU, got one on cpu"):
        make_decoder(model, graph=True)
    decoder = make_decoder(model, batch=2)
    with pytest.raises(ValueError, match=r"tokens must have the shape \(batch=2\)"):
        decoder.step(torch.tensor([1]))
    with pytest.raises(TypeError, match="tokens must be integers"):
        decoder.step(torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="state must fit the decoder"):
        decoder.load(model(text(3))[1])
    with pytest.raises(TypeError, match="state must be a ModelState"):
        decoder.load(3)
    with pytest.raises(ValueError, match="decoder must be of this model, for a batch of 1"):
        generate(model, torch.tensor([1]), 3, decoder=decoder)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("build", [megalodon, transformer])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_the_graph_equals_the_steps(build, dtype, tolerance, compiled):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    model, tokens = build().to("cuda", dtype), text().cuda()
    graph = make_decoder(model, batch=2, capacity=4, compiled=compiled)
    plain = make_decoder(model, batch=2, capacity=4, graph=False)
    assert graph.graphed and not plain.graphed
    state = model(tokens[:, :3])[1]
    for decoder in (graph, plain):
        decoder.load(state)
    for token in tokens[:, 3:].unbind(1):
        found, expected = graph.step(token), plain.step(token)
        assert (found - expected).norm() <= tolerance * expected.norm()
    whole = model(tokens)[0][:, -1]
    assert (found - whole).norm() <= tolerance * whole.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("build", [megalodon, transformer])
def test_generate_on_a_gpu_takes_a_graph_and_writes_what_a_cpu_writes(build):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    model, prompt = build().double(), text(1, 9)[0]
    expected = generate(model, prompt, 40, seed=4)
    found = generate(model.cuda(), prompt, 40, seed=4)
    assert torch.equal(found.tokens, expected.tokens)
    on_cpu = pytree.tree_map(lambda leaf: leaf if leaf is None else leaf.cpu(), found.state)
    close(on_cpu, expected.state, 1e-9)
