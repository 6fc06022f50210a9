import numpy as np
import pytest

from megalodon_edu.explorers import MemoryWallExplorer


def test_the_cache_by_hand():
    explorer = MemoryWallExplorer(model="7B", precision="bfloat16 (2 bytes)", context=32_768)
    cache, state = explorer.values()["here"]
    assert cache == 2 * 32 * 4096 * 32_768 * 2  # keys and values, layers, width, tokens, bytes
    per_layer = 2047 * (1024 + 8192) * 2 + 4096 * 16 * 8 + (8 + 2 * 64 * 4)
    assert state == 32 * per_layer + (8 + 2 * 64 * 4)


def test_sharing_keys_and_batching_scale_the_cache():
    plain = MemoryWallExplorer().values()["here"]
    shared = MemoryWallExplorer(queries_per_key=8, batch=4).values()["here"]
    assert shared[0] == plain[0] * 4 / 8
    assert shared[1] == plain[1] * 4


def test_megalodon_stays_flat_and_the_transformer_does_not():
    values = MemoryWallExplorer().values()
    assert (np.diff(values["cache"]) > 0).all()
    after_a_chunk = values["state"][values["contexts"] >= 2048]
    assert len(set(after_a_chunk.tolist())) == 1


def test_the_walls_are_where_the_cache_fills_the_gpu():
    explorer = MemoryWallExplorer(model="1.3B")
    for wall, size in zip(explorer.values()["walls"], (8e9, 24e9, 80e9), strict=True):
        assert explorer.cache_bytes(int(wall)) <= size < explorer.cache_bytes(int(wall) + 1)


def test_the_figure_draws_both_lines():
    explorer = MemoryWallExplorer()
    values = explorer.values()
    drawn = [line.get_ydata() for line in explorer.figure().axes[0].lines]
    assert any(np.array_equal(line, values["cache"]) for line in drawn)
    assert any(np.array_equal(line, values["state"]) for line in drawn)
    with pytest.raises(ValueError, match="context must lie between 1000 and 10000000, got 10"):
        explorer.context = 10
