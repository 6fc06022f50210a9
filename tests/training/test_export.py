import pytest
import torch
from tiny_models import build_megalodon

from megalodon_edu.training.export import shards, shipped_weights


def test_the_averages_keep_float32():
    model = build_megalodon()
    weights = shipped_weights(model)
    assert set(weights) == set(model.state_dict())
    wide = {name for name, tensor in weights.items() if tensor.dtype == torch.float32}
    assert wide == {name for name in weights if ".cema." in name} and wide
    assert {tensor.dtype for name, tensor in weights.items() if name not in wide} == {torch.bfloat16}


def test_no_shard_is_too_large_and_nothing_is_lost():
    weights = {name: torch.zeros(size) for name, size in zip("abcde", (3, 4, 9, 1, 2), strict=True)}
    parts = shards(weights, most_bytes=28)
    assert [list(part) for part in parts] == [["a", "b"], ["c"], ["d", "e"]]
    with pytest.raises(ValueError, match="most_bytes must be at least 1, got 0"):
        shards(weights, 0)
