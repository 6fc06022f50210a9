import pytest
import torch

from megalodon_edu.measure import decoding_steps as table
from megalodon_edu.measure.decoding_steps import decoding_steps
from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, make_decoder, match_transformer

CPU = torch.device("cpu")
TINY = MegalodonConfig(
    num_layers=1, model_dim=16, num_heads=1, z_dim=8, value_dim=12, ffn_hidden_dim=24, vocab_size=32,
    norm_num_groups=4, cema_ndim=2, chunk_size=6,
)  # fmt: skip


def rows(**more):
    return list(decoding_steps(TINY, (1, 488), CPU, torch.float32, **more))


def test_steps_over_a_whole_chunk_from_both_positions():
    transformer, near, far = rows()
    assert [(row["model"], row["position"]) for row in (transformer, near, far)] == [
        *[("Transformer", 6), ("Megalodon", 6), ("Megalodon", 488 * 6)]
    ]
    assert (transformer["first"], transformer["steps"]) == (3, 6)  # as many before the position as after it
    assert near["steps"] == far["steps"] == 6 and near["buffer_bytes"] == far["buffer_bytes"]
    assert transformer["ratio"] == near["over_first"] == 1
    assert far["over_first"] == pytest.approx(far["seconds"] / near["seconds"])
    assert far["ratio"] == pytest.approx(transformer["seconds"] / far["seconds"])


def test_the_seconds_are_the_median_of_single_steps(monkeypatch):
    costs = iter([1.0, 9.0, 2.0, 3.0, 2.0, 2.0] * 3)
    monkeypatch.setattr(table, "seconds", lambda function, device, clock: function() is None or next(costs))
    for row in rows():
        assert (row["seconds"], row["most_seconds"]) == (2.0, 9.0)


def test_positions_take_turns(monkeypatch):
    order = []
    monkeypatch.setattr(table, "TURN", 4)
    monkeypatch.setattr(
        table, "_step_seconds", lambda decoder, token, steps, clock: order.append((decoder, steps)) or [1.0] * steps
    )
    assert [row["steps"] for row in rows()] == [6, 6, 6]
    _, _, *megalodon = order
    (near, _), (far, _) = megalodon[:2]
    assert near is not far and near.model is far.model
    assert megalodon == [(near, 4), (far, 4), (near, 2), (far, 2)]


def test_the_state_has_the_position_and_an_empty_chunk():
    decoder = make_decoder(Megalodon(TINY).eval())
    state = table._random_state(decoder, 488 * 6)
    assert state.norm.count.tolist() == [488 * 6] and (state.norm.var > 0).all()
    layer = state.layers[0]
    assert layer.norm.count.tolist() == [488 * 6] and layer.ema.abs().min() > 0
    assert layer.cache.keys.shape[1] == 0
    decoder.load(state)
    assert decoder.step(torch.ones(1, dtype=torch.int64)).isfinite().all()
    assert decoder.state().layers[0].norm.count.tolist() == [488 * 6 + 1]


def test_the_transformer_holds_as_many_keys_as_tokens():
    decoder = make_decoder(Transformer(match_transformer(TINY)).eval(), capacity=9)
    decoder.load(table._random_state(decoder, 5))
    assert decoder.held == 5 and decoder.bucket == 9
    assert decoder.state().layers[0].keys.abs().min() > 0


def test_a_failure_is_a_note(monkeypatch):
    def no_room(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(table, "make_decoder", no_room)
    assert [(row["note"], row["ratio"]) for row in rows()] == [("out of memory", None)] * 3


def test_positions_begin_after_a_chunk():
    with pytest.raises(ValueError, match="chunks must be at least 1, got 0"):
        next(decoding_steps(TINY, (0,), CPU, torch.float32))
