"""A compiled loss: the same gradients, and less memory where it computes again."""

from functools import partial

import pytest
import torch
from tiny_models import build_megalodon, build_transformer

from megalodon_edu.models.compilation import compile_loss


def gradients_and_bytes(model, tokens, recompute):
    """Gradients, and the bytes that the graph keeps for the backward pass, each storage once, without parameters."""
    torch.compiler.reset()
    model.zero_grad()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = compile_loss(model.loss, recompute)(tokens)
    loss.backward()
    return [parameter.grad for parameter in model.parameters()], sum(kept.values())


@pytest.mark.parametrize("build", [build_megalodon, build_transformer])
def test_recomputing_keeps_less_and_changes_no_gradient(build, monkeypatch):
    # The graph is cut in two as on a GPU, but no code is generated, which takes a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager_decomp_partition"))
    model = build()
    tokens = torch.randint(1, model.config.vocab_size, (2, 33), generator=torch.Generator().manual_seed(0))
    plain, much = gradients_and_bytes(model, tokens, recompute=False)
    again, less = gradients_and_bytes(model, tokens, recompute=True)
    assert less < 0.9 * much
    for a, b in zip(again, plain, strict=True):
        torch.testing.assert_close(a, b)
