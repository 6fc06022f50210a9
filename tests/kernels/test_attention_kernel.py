"""Attention in chunks as Triton kernels: values, the cache and every gradient against all pairs in float64."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from megalodon_edu.kernels import attention as kernels
from megalodon_edu.kernels import chunked_attention_triton
from megalodon_edu.kernels.attention import NARROW, _backward, _forward, _launch_forward
from megalodon_edu.ops.attention import AttentionCache, chunked_attention, chunked_attention_reference

NAMES = ("o", "keys", "values", "dq", "dk", "dv", "dgate", "dkeys", "dvalues")
SMALL = NARROW._replace(
    rows=16, columns=16, score_columns=32, sum_columns=16, sum_depth=16, width=32, depth=16, panel=32
)
CHUNK = 50
"""Four tiles of rows and two panels; the chunk fills neither."""


@pytest.fixture(autouse=True)
def small_tiles(request, monkeypatch):
    """Many tiles and panels on small shapes; not for the tests of big shapes."""
    if "gpu" not in request.keywords:
        monkeypatch.setattr(kernels, "_tiles_of", lambda device, narrow_type: SMALL)


def make(device, batch, time, heads, key, value, held=0, dtype=torch.float32):
    """q, k, v and the keys and values of a cache."""
    torch.manual_seed(time)
    shapes = [(time, key), (time, key), (time, value), (held, key), (held, value)]
    return [torch.randn(batch, length, heads, width).to(device, dtype) for length, width in shapes]


def run(face, inputs, chunk, scale=0.4, gate=None):
    """Return the output, the cache, and every gradient (by random weights)."""
    given = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    held = given[3].shape[1]
    gate = None if gate is None else gate.detach().clone().requires_grad_()
    o, cache = face(*given[:3], chunk, AttentionCache(*given[3:]) if held else None, scale, gate=gate)
    torch.manual_seed(1)
    loss = sum((part * torch.randn(part.shape).to(part)).sum() for part in (o, *cache))
    wanted = [*given[:3], *([] if gate is None else [gate]), *(given[3:] if held else [])]
    return [o, *cache, *torch.autograd.grad(loss, wanted)]


def assert_close(inputs, chunk, limit=1e-5, truth=chunked_attention_reference, gate=None):
    found = run(chunked_attention_triton, inputs, chunk, gate=gate)
    wide = None if gate is None else gate.double()
    names = [name for name in NAMES if gate is not None or name != "dgate"]
    for name, a, b in zip(names, found, run(truth, [t.double() for t in inputs], chunk, gate=wide), strict=False):
        assert a.shape == b.shape
        error, size = (a.double() - b).norm(), b.norm()
        assert error <= limit * size + 1e-6 * b.numel() ** 0.5, f"{name}: {error / size:.2e}"  # a row of 1 has dq = 0


@pytest.mark.parametrize("time", [1, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_against_all_pairs(device, time):
    assert_close(make(device, 2 if time < CHUNK else 1, time, 1 if time > CHUNK else 2, 20, 40), CHUNK)


@pytest.mark.parametrize(("time", "held"), [(1, 1), (1, 40), (5, CHUNK - 5), (9, 40), (CHUNK + 30, 33)])
def test_with_a_cache(device, time, held):
    assert_close(make(device, 2 if time < CHUNK else 1, time, 1, 20, 40, held), CHUNK)


@pytest.mark.parametrize(("heads", "key", "value"), [(1, 4, 1), (3, 16, 16), (1, 33, 70), (2, 40, 8)])
def test_any_heads_and_widths(device, heads, key, value):
    assert_close(make(device, 1, 45, heads, key, value, 9), 40)


@pytest.mark.parametrize(("time", "held"), [(1, 0), (45, 0), (CHUNK + 30, 33)])
def test_with_a_gate(device, time, held):
    inputs = make(device, 1, time, 2, 20, 40, held)
    gate = 3 * torch.randn_like(inputs[2])
    assert_close(inputs, CHUNK, gate=gate)
    apart = gate.mT.contiguous().mT
    plain, _ = chunked_attention_triton(*inputs[:3], CHUNK, gate=gate)
    assert torch.equal(chunked_attention_triton(*inputs[:3], CHUNK, gate=apart)[0], plain)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float16, 1e-2)])
def test_a_gate_that_closes(device, dtype, limit):
    """What the gate multiplied is found again from the product, also where the gate lets nothing through."""
    inputs = make(device, 1, 45, 1, 20, 40, dtype=dtype)
    gate = torch.randn_like(inputs[2])
    gate[:, :10], gate[:, 10:12], gate[:, 12:14], gate[:, 14:16] = 0.0, 1e-6, -1e3, 1e3
    assert_close(inputs, CHUNK, limit, gate=gate)


@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_chunks_of_one_token_and_longer_than_the_sequence(device, chunk):
    assert_close(make(device, 1, 20, 2, 8, 8), chunk)


def test_the_tiles_of_a_gpu_without_wide_shared_memory(device, monkeypatch):
    monkeypatch.setattr(kernels, "_tiles_of", lambda device, narrow_type: NARROW)
    assert_close(make(device, 1, 150, 1, 40, 70, 11), 140)


def test_panels_serve_a_few_chunks_at_a_time(device, monkeypatch):
    monkeypatch.setattr(kernels, "SCRATCH", 2 * SMALL.panel * 64)
    assert_close(make(device, 1, CHUNK + 9, 2, 8, 20), CHUNK)  # 4 pairs, 2 at a time
    assert_close(make(device, 1, CHUNK + 9, 1, 8, 20, 20), 30)  # 3 pairs


def test_large_logits(device):
    q, k, v, _, _ = make(device, 1, 40, 1, 8, 8)
    for scale in (300.0, -300.0, 0.0):
        o, _ = chunked_attention_triton(q, k, v, 33, None, scale)
        truth, _ = chunked_attention_reference(q.double(), k.double(), v.double(), 33, None, scale)
        torch.testing.assert_close(o.double(), truth, rtol=1e-2, atol=1e-2)  # the logits have 4 digits before the point


def test_views_are_read_where_they_lie(device):
    q, k, v, _, _ = make(device, 1, 2 * 45, 2, 16, 24)
    apart = [tensor[:, ::2].transpose(1, 2).transpose(1, 2) for tensor in (q, k, v)]
    plain, _ = chunked_attention_triton(*(tensor.contiguous() for tensor in apart), 40)
    assert torch.equal(chunked_attention_triton(*apart, 40)[0], plain)
    turned = [tensor.mT.contiguous().mT for tensor in apart]
    assert torch.equal(chunked_attention_triton(*turned, 40)[0], plain)


def test_streamed_in_pieces_equals_one_call(device):
    q, k, v, _, _ = make(device, 1, 2 * CHUNK + 30, 2, 8, 20)
    whole, last = chunked_attention_triton(q, k, v, CHUNK)
    cache, pieces, start = None, [], 0
    for size in (1, 7, CHUNK - 8, 1, 41, CHUNK - 42 + 25, 1, 4):
        end = start + size
        o, cache = chunked_attention_triton(q[:, start:end], k[:, start:end], v[:, start:end], CHUNK, cache)
        pieces.append(o)
        start = end
    assert start == q.shape[1]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    assert torch.equal(cache.keys, last.keys) and torch.equal(cache.values, last.values)


def test_no_output_and_no_gradient_crosses_time_the_wrong_way(device):
    q, k, v, _, _ = make(device, 1, 60, 1, 8, 20)
    plain, _ = chunked_attention_triton(q, k, v, 50)
    k[:, 20:], v[:, 20:] = 7.0, torch.nan
    o, _ = chunked_attention_triton(q, k, v.nan_to_num(1e9), 50)
    assert torch.equal(o[:, :20], plain[:, :20]) and not torch.equal(o[:, 20:], plain[:, 20:])
    k.requires_grad_()
    v = v.nan_to_num(1.0).requires_grad_()
    o, _ = chunked_attention_triton(q, k, v, 50)
    for gradient in torch.autograd.grad(o[:, :25].square().sum(), (k, v)):
        assert (gradient[:, 25:] == 0).all() and (gradient[:, :25] != 0).any()


def test_what_lies_beyond_a_chunk_is_never_used(device):
    q, k, v, _, _ = make(device, 1, 100, 1, 8, 20)
    plain = run(chunked_attention_triton, [q[:, :50], k[:, :50], v[:, :50], k[:, :0], v[:, :0]], 50)
    whole = torch.cat([v[:, :50], v[:, 50:] * torch.nan], 1)
    o, _ = chunked_attention_triton(q, k, whole, 50, scale=0.4)
    assert torch.equal(o[:, :50], plain[0]) and o[:, 50:].isnan().all()


class NewTensors(TorchDispatchMode):
    """Writes down the bytes behind every tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.bytes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.bytes += [part.untyped_storage().nbytes() for part in [result] if isinstance(part, torch.Tensor)]
        return result


def test_nothing_holds_a_weight_for_every_two_tokens(device):
    """One chunk: the largest tensor is the pair of panels, and the backward pass keeps no more than q, k, v and o."""
    chunk = 10 * SMALL.rows
    q, k, v = (tensor.requires_grad_() for tensor in make(device, 1, chunk, 1, 4, 4)[:3])
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t)
    with NewTensors() as new:
        with hooks:
            o, _ = chunked_attention_triton(q, k, v, chunk)
        torch.autograd.grad(o, (q, k, v), o.detach())
    assert len(saved) == 5 and max(saved) == 4 * chunk
    weight = 4  # bytes
    assert max(new.bytes) == 2 * SMALL.panel * chunk * weight < chunk * chunk * weight


def test_dtypes_go_through(device):
    q, k, v, keys, values = make(device, 2, 9, 1, 8, 16, 3)
    o, cache = chunked_attention_triton(q.half(), k.half(), v.half(), 8, AttentionCache(keys, values))
    assert {o.dtype, cache.keys.dtype, cache.values.dtype} == {torch.float16}
    inputs = [tensor.half().requires_grad_() for tensor in (q, k, v)]
    gradients = torch.autograd.grad(chunked_attention_triton(*inputs, 8)[0].sum(), inputs)
    assert {gradient.dtype for gradient in gradients} == {torch.float16}


def test_what_the_kernels_do_not_know_is_said(device):
    q, k, v, _, _ = make(device, 1, 4, 1, 4, 4)
    with pytest.raises(ValueError, match="no bias and no dropout, got a bias; use the torch face"):
        chunked_attention_triton(q, k, v, 4, bias=torch.zeros(4, 4, device=device))
    with pytest.raises(ValueError, match="no bias and no dropout, got dropout=0.5; use the torch face"):
        chunked_attention_triton(q, k, v, 4, dropout=0.5)
    with pytest.raises(TypeError, match="q must be float32, float16 or bfloat16, got torch.float64"):
        chunked_attention_triton(q.double(), k.double(), v.double(), 4)
    with pytest.raises(TypeError, match="k must hold torch.float32 as q does"):
        chunked_attention_triton(q, k.half(), v, 4)
    with pytest.raises(TypeError, match="gate must hold torch.float32 as q does"):
        chunked_attention_triton(q, k, v, 4, gate=v.half())


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_the_operators_are_registered_whole(device, gated):
    """Schema, shapes without numbers, autograd, and a graph of the compiler."""
    q, k, v = (tensor.requires_grad_() for tensor in make(device, 2, 9, 2, 8, 16)[:3])
    gate = torch.randn_like(v).requires_grad_() if gated else None
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(_forward, (q, k, v, gate, 8, 0.5), test_utils=tests)
    q, k, v, gate = (given if given is None else given.detach() for given in (q, k, v, gate))
    y, log_sum = _launch_forward(q, k, v, gate, 8, 0.5)
    torch.library.opcheck(_backward, (y, q, k, v, gate, y, log_sum, 8, 0.5), test_utils=tests[:2])


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_a_compiled_function_gives_the_same(device, gated):
    inputs = make(device, 2, 9, 2, 8, 16, 3)
    gate = torch.randn_like(inputs[2]) if gated else None
    compiled = torch.compile(chunked_attention_triton, backend="aot_eager", fullgraph=True)
    plain = run(chunked_attention_triton, inputs, 8, gate=gate)
    for found, expected in zip(run(compiled, inputs, 8, gate=gate), plain, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(2, 4099, 1, 256, 2048, 100), (3, 2000, 4, 64, 160, 0), (1, 1, 1, 256, 2048, 999)])
def test_big_shapes_on_a_gpu(device, shape, dtype, limit):
    inputs, chunk = make(device, *shape, dtype), 2048 if shape[1] > 2048 else 1000
    assert_close(inputs, chunk, limit, chunked_attention)
    assert_close(inputs, chunk, limit, chunked_attention, gate=torch.randn_like(inputs[2]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_same_bits_every_time(device):
    inputs = make(device, 4, 4096, 1, 256, 2048, 7, torch.bfloat16)
    first = run(chunked_attention_triton, inputs, 2048)
    for _ in range(5):
        for a, b in zip(first, run(chunked_attention_triton, inputs, 2048), strict=True):
            assert torch.equal(a, b)
