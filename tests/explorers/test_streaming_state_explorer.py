import numpy as np
import pytest
import torch

from megalodon_edu.explorers import StreamingStateExplorer
from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, match_transformer, pretrained, state_bytes


@pytest.mark.parametrize("tokens", [1, 127, 128, 200])
def test_the_bytes_are_those_of_a_state_that_a_model_returned(tokens):
    config = MegalodonConfig.preset("tiny")
    text = torch.zeros(1, tokens, dtype=torch.int64)
    explorer = StreamingStateExplorer(model="tiny", chunk_size=config.chunk_size, tokens=tokens)
    state, cache, *parts = explorer.values()["here"]
    with torch.no_grad():
        _, kept = Megalodon(config)(text)
        _, rival = Transformer(match_transformer(config))(text)
    assert (state, cache) == (state_bytes(kept), state_bytes(rival))
    layer = kept.layers[0]
    assert parts == [state_bytes(part) for part in (layer.cache.keys, layer.cache.values, layer.ema, layer.norm)]


def test_bookworm_is_the_model_that_ships():
    explorer = StreamingStateExplorer()
    assert explorer.config == pretrained("bookworm").config


def test_the_state_is_a_saw_tooth_with_the_period_of_the_chunk():
    explorer = StreamingStateExplorer(chunk_size=512)
    values = explorer.values()
    axis, state = values["axis"], values["state"]
    edges = axis % 512 == 0
    assert (np.diff(axis) > 0).all()
    assert (state[edges] == values["handed_on"][0]).all()
    assert (np.diff(state)[~edges[1:]] > 0).all() and (np.diff(state)[edges[1:]] < 0).all()
    assert (np.diff(values["cache"]) > 0).all()


@pytest.mark.parametrize(("tokens", "first"), [(0, 0), (511, 0), (512, 0), (1024, 512), (16_384, 15_872)])
def test_the_close_view_holds_the_open_chunk_and_its_neighbours(tokens, first):
    values = StreamingStateExplorer(tokens=tokens, chunk_size=512).values()
    window = values["window"]
    assert window[0] == first and window[-1] == tokens - tokens % 512 + 1023 and (np.diff(window) > 0).all()
    assert (values["keys"] == window % 512 * 128 * 4).all()


def test_only_keys_and_values_feel_chunk_and_precision():
    wide, narrow = (
        StreamingStateExplorer(model="7.3B", precision=precision, chunk_size=4096, tokens=4000).layer(4000)
        for precision in ("float32 (4 bytes)", "bfloat16 (2 bytes)")
    )
    assert [wide[part] / narrow[part] for part in ("keys", "values", "CEMA", "norm")] == [2, 2, 1, 1]
    short = StreamingStateExplorer(model="7.3B", chunk_size=128, tokens=4000).layer(4000)
    assert short["keys"] * 4000 == wide["keys"] * (4000 % 128) and short["CEMA"] == wide["CEMA"]


def test_the_picture_marks_the_token_and_says_its_bytes():
    explorer = StreamingStateExplorer(tokens=700)
    left, right = explorer.figure().axes
    dots = [line.get_xydata()[0].tolist() for line in left.lines if line.get_marker() == "o"]
    assert dots == [[700, explorer.state_bytes(700)], [700, explorer.cache_bytes(700)]]
    parts = [line.get_xydata()[0].tolist() for line in right.lines if line.get_marker() == "o"]
    assert parts == [[700, size] for size in explorer.layer(700).values()]
    assert f"{explorer.cache_bytes(700):,} and {explorer.state_bytes(700):,} bytes" in explorer.description()
