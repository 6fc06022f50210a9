"""Head and cross-entropy in Triton: loss and gradients against float64, and the memory that they take."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from megalodon_edu.kernels import linear_cross_entropy_triton
from megalodon_edu.kernels.cross_entropy import _forward, piece_tokens
from megalodon_edu.models import Transformer, TransformerConfig
from megalodon_edu.ops.cross_entropy import linear_cross_entropy

MODULE = "megalodon_edu.kernels.cross_entropy."


def make(device, tokens, words, channels, dtype=torch.float32):
    torch.manual_seed(0)
    x, weight = torch.randn(*tokens, channels), 2 * torch.randn(words, channels) / channels**0.5
    return x.to(device, dtype), weight.to(device, dtype), torch.randint(0, words, tokens).to(device)


def run(face, x, weight, targets, factor=-3.0):
    """Return the loss and the gradients of a multiple of it."""
    x, weight = (tensor.detach().clone().requires_grad_() for tensor in (x, weight))
    loss = face(x, weight, targets)
    return [loss.detach(), *torch.autograd.grad(factor * loss, (x, weight))]


def assert_close(found, expected, limit=1e-5):
    for a, b in zip(found, expected, strict=True):
        error, size = (a.double() - b).norm(), b.norm()  # one word alone has a loss and gradients of exactly 0
        assert error <= limit * size, f"{error / size:.2e}"


def against_float64(x, weight, targets, limit=1e-5, factor=-3.0):
    found = run(linear_cross_entropy_triton, x, weight, targets, factor)
    assert_close(found, run(linear_cross_entropy, x.double(), weight.double(), targets, factor), limit)
    return found


@pytest.mark.parametrize(("tokens", "words", "channels"), [((2, 9), 256, 16), ((1,), 1, 3), ((130,), 77, 5)])
def test_against_float64(device, tokens, words, channels):
    against_float64(*make(device, tokens, words, channels))


def test_a_vocabulary_of_many_blocks_and_tokens_of_many_pieces(device, monkeypatch):
    monkeypatch.setattr(MODULE + "BLOCK", 32)
    monkeypatch.setattr(MODULE + "PIECE_BYTES", 128 * 101 * 4)
    assert piece_tokens(101, 4) == 128
    inputs = make(device, (300,), 101, 8)
    inputs[2][:3] = torch.tensor([0, 31, 100])
    against_float64(*inputs)


def test_large_logits_do_not_overflow(device):
    x, weight, targets = make(device, (4, 5), 300, 8)
    against_float64(1e3 * x, weight, targets, 1e-4)


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation makes; views are not counted."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given, made = ([t for t in tree_leaves(tree) if isinstance(t, torch.Tensor)] for tree in ((args, kwargs), out))
        known = {tensor.untyped_storage().data_ptr() for tensor in given}
        new = [t.untyped_storage().nbytes() for t in made if t.untyped_storage().data_ptr() not in known]
        self.most = max(self.most, *new, 0)
        return out


def test_the_logits_of_all_tokens_never_exist(device, monkeypatch):
    monkeypatch.setattr(MODULE + "PIECE_BYTES", 128 * 256 * 4)
    x, weight, targets = make(device, (600,), 256, 8)
    x.requires_grad_(), weight.requires_grad_()
    with LargestTensor() as largest:
        linear_cross_entropy_triton(x, weight, targets).backward()
    assert largest.most == 128 * 256 * 4  # the logits of a piece


def test_without_gradients_none_is_computed(device):
    x, weight, targets = make(device, (20,), 30, 200)
    with LargestTensor() as largest:
        loss = linear_cross_entropy_triton(x, weight, targets)
    assert not loss.requires_grad
    assert largest.most == 20 * 64 * 4  # the logits, in rows of 64
    weight.requires_grad_()
    with torch.no_grad():
        assert torch.equal(linear_cross_entropy_triton(x, weight, targets), loss)


@pytest.mark.parametrize("wanted", [0, 1])
def test_one_gradient_alone(device, wanted):
    inputs = make(device, (2, 9), 40, 6)
    inputs[wanted].requires_grad_()
    faces = (linear_cross_entropy_triton, linear_cross_entropy)
    found, expected = (torch.autograd.grad(face(*inputs), inputs[wanted]) for face in faces)
    torch.testing.assert_close(found, expected)


def test_float16_keeps_the_small_gradients_of_many_tokens(device):
    x, weight, targets = make(device, (1000,), 300, 4, torch.float16)
    found = against_float64(x, weight, targets, 5e-3, factor=2.0**14)  # as a loss scaler would
    assert [tensor.dtype for tensor in found] == [torch.float32, torch.float16, torch.float16]


def test_autocast_casts_both_and_gives_gradients_in_their_own_types(device):
    x, weight, targets = make(device, (3, 7), 50, 8)

    def face(x, weight, targets):
        with torch.autocast(x.device.type, torch.float16):
            return linear_cross_entropy_triton(x.half(), weight, targets)

    found = run(face, x, weight, targets)
    assert [tensor.dtype for tensor in found] == [torch.float32] * 3
    expected = run(linear_cross_entropy, x.double(), weight.double(), targets)
    assert_close(found, expected, 5e-3)
    assert not torch.allclose(found[2].double(), expected[2], rtol=1e-5, atol=1e-7)


def test_bad_input_is_named(device):
    x, weight, targets = make(device, (2, 9), 40, 6)
    with pytest.raises(TypeError, match="x must be float32, float16 or bfloat16, got torch.float64"):
        linear_cross_entropy_triton(x.double(), weight.double(), targets)
    with pytest.raises(ValueError, match="targets must have the shape of x without its last dimension"):
        linear_cross_entropy_triton(x, weight, targets[0])
    if device.type == "cuda":
        assert linear_cross_entropy_triton(x, weight, targets + 40).isnan()


def test_the_operator_is_registered_whole(device):
    """Schema, shapes without numbers, autograd, and a graph of the compiler."""
    x, weight, targets = make(device, (9,), 40, 6)
    arguments = (x.requires_grad_(), weight.requires_grad_(), targets, torch.float16, True, False)
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(_forward, arguments, test_utils=tests)


def test_a_compiled_function_gives_the_same(device):
    inputs = make(device, (2, 9), 40, 6)
    compiled = torch.compile(linear_cross_entropy_triton, backend="aot_eager", fullgraph=True)
    for found, expected in zip(run(compiled, *inputs), run(linear_cross_entropy_triton, *inputs), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("share_emb", [False, True])
def test_a_model_takes_the_kernel_for_its_loss(device, monkeypatch, share_emb):
    monkeypatch.setattr(MODULE + "PIECE_BYTES", 128 * 320 * 4)
    sizes = {"num_layers": 1, "model_dim": 16, "num_heads": 2, "ffn_hidden_dim": 24, "vocab_size": 300}
    model = Transformer(TransformerConfig(**sizes, share_emb=share_emb), backend="triton").to(device)
    plain = Transformer(model.config, backend="torch").to(device)
    plain.load_state_dict(model.state_dict())
    tokens = torch.randint(0, 300, (2, 150), device=device)
    compiled = torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(plain.loss(tokens), plain.parameters())
    for loss in (model.loss(tokens), compiled(tokens)):
        torch.testing.assert_close(loss, plain.loss(tokens))
        torch.testing.assert_close(torch.autograd.grad(loss, model.parameters()), expected, rtol=1e-3, atol=1e-6)
    with LargestTensor() as largest:
        model.loss(tokens).backward()
    assert largest.most < 298 * 300 * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [((3, 1365), 32_000, 512), ((8, 4096), 256, 256), ((777,), 50_257, 128)])
def test_big_shapes_on_a_gpu(device, shape, dtype, limit):
    against_float64(*make(device, *shape, dtype), limit)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_peak_of_memory_on_a_gpu(device):
    x, weight, targets = make(device, (16_384,), 32_000, 512, torch.bfloat16)
    x.requires_grad_(), weight.requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    linear_cross_entropy_triton(x, weight, targets).backward()
    assert torch.cuda.max_memory_allocated() - before < 16_384 * 32_000 * 2 / 2
