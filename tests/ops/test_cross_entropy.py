"""Head and cross-entropy: the definition, gradients of the pieces, memory, autocast, and the errors people make."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from megalodon_edu.ops.cross_entropy import linear_cross_entropy, linear_cross_entropy_chunked

FACES = (linear_cross_entropy, linear_cross_entropy_chunked)


def make(tokens=(3, 11), words=19, channels=6, dtype=torch.float64):
    torch.manual_seed(0)
    x = torch.randn(*tokens, channels, dtype=dtype, requires_grad=True)
    weight = torch.randn(words, channels, dtype=dtype, requires_grad=True)
    return x, weight, torch.randint(0, words, tokens)


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


@pytest.mark.parametrize("face", FACES)
def test_against_the_definition(face):
    x, weight, targets = make()
    probabilities = torch.softmax(x @ weight.T, -1)
    expected = -torch.stack([probabilities[i, j, targets[i, j]].log() for i in range(3) for j in range(11)]).mean()
    torch.testing.assert_close(face(x, weight, targets), expected)
    torch.testing.assert_close(face(x[0], weight, targets[0].to(torch.uint8)), face(x[:1], weight, targets[:1]))


@pytest.mark.parametrize("piece", [1, 4, 33, 100])
def test_gradients_of_the_pieces_under_any_incoming_gradient(piece):
    x, weight, targets = make()
    expected = torch.autograd.grad(-7 * linear_cross_entropy(x, weight, targets) ** 2, (x, weight))
    loss = linear_cross_entropy_chunked(x, weight, targets, piece)
    for _ in range(2):  # the saved gradients stay as they are
        found = torch.autograd.grad(-7 * loss**2, (x, weight), retain_graph=True)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("wanted", [0, 1])
def test_one_gradient_alone(wanted):
    inputs = make()
    inputs[1 - wanted].requires_grad_(False)
    found, expected = (torch.autograd.grad(face(*inputs), inputs[wanted]) for face in reversed(FACES))
    torch.testing.assert_close(found, expected)


def test_the_pieces_never_hold_the_logits_of_all_tokens():
    x, weight, targets = make((64,), words=500, channels=8, dtype=torch.float32)
    sizes = {}
    for face in (linear_cross_entropy, lambda *inputs: linear_cross_entropy_chunked(*inputs, piece=4)):
        with LargestTensor() as largest:
            face(x, weight, targets).backward()
        sizes[face] = largest.most
    whole, pieces = sizes.values()
    assert whole == 64 * 500 * 4
    assert pieces == 500 * 8 * 4  # the weight's gradient; a piece of logits has half as many bytes


def test_without_gradients_none_is_computed():
    x, weight, targets = make((64,), words=10, channels=100)
    with torch.no_grad(), LargestTensor() as largest:
        linear_cross_entropy_chunked(x, weight, targets, piece=4)
    assert largest.most == 4 * 10 * 8  # the logits of a piece
    assert not linear_cross_entropy_chunked(x.detach(), weight.detach(), targets).requires_grad


def test_autocast_takes_the_product_in_its_type_and_the_loss_in_float32():
    x, weight, targets = make(dtype=torch.float32)
    exact = torch.autograd.grad(linear_cross_entropy(x, weight, targets), (x, weight))
    for face in FACES:
        with torch.autocast("cpu", torch.bfloat16):
            loss = face(x.bfloat16(), weight, targets)
        assert loss.dtype == torch.float32
        found = torch.autograd.grad(loss, (x, weight))
        assert [gradient.dtype for gradient in found] == [torch.float32] * 2
        for a, b in zip(found, exact, strict=True):
            assert 1e-5 < (a - b).norm() / b.norm() < 1e-2
    loss = linear_cross_entropy_chunked(x.bfloat16(), weight.bfloat16(), targets)
    assert loss.dtype == torch.float32


def test_large_logits_do_not_overflow():
    x, weight, targets = make(dtype=torch.float32)
    for face in FACES:
        loss = face(1e4 * x, weight, targets)
        assert loss.isfinite() and all(g.isfinite().all() for g in torch.autograd.grad(loss, (x, weight)))


@pytest.mark.parametrize("face", FACES)
def test_bad_input_is_named(face):
    x, weight, targets = make()
    targets[0, :2] = torch.tensor([0, 18])
    for arguments, error, message in (
        (([1.0], weight, targets), TypeError, "x must be a Tensor, got list"),
        ((x.long(), weight, targets), TypeError, "x must hold floating-point numbers, got torch.int64"),
        ((x, weight, targets.double()), TypeError, "targets must be integers, got torch.float64"),
        ((x, weight, targets[:, 1:]), ValueError, r"targets must have the shape of x without .*got \(3, 10\)"),
        ((x[:, :0], weight, targets[:, :0]), ValueError, r"x must not be empty, got the shape \(3, 0, 6\)"),
        ((x, weight[:, 1:], targets), ValueError, r"weight must have the shape \(vocabulary, channel=6\), got \(19, 5"),
        ((x, weight.float(), targets), TypeError, "weight must have the type of x, got torch.float32 and torch.float6"),
        ((x, weight, targets + 1), ValueError, r"targets must lie in 0 \.\. 18, got 1 to 19"),
    ):
        with pytest.raises(error, match=message):
            face(*arguments)
    with pytest.raises(ValueError, match="piece must be at least 1, got 0"):
        linear_cross_entropy_chunked(x, weight, targets, piece=0)


def test_a_compiled_function_gives_the_same():
    inputs = make()
    compiled = torch.compile(linear_cross_entropy_chunked, backend="aot_eager", fullgraph=True)
    results = [[loss, *torch.autograd.grad(loss, inputs[:2])] for loss in (f(*inputs) for f in (compiled, *FACES))]
    torch.testing.assert_close(results[0], results[1])
