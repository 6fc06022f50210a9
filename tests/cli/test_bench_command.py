import json

import pytest
import torch

from megalodon_edu import cli
from megalodon_edu.cli import bench as command
from megalodon_edu.measure import operator_speed
from megalodon_edu.models import PRESETS, MegalodonConfig

SIZES = {
    "num_layers": 1, "model_dim": 64, "num_heads": 1, "z_dim": 16, "value_dim": 64, "ffn_hidden_dim": 64,
    "norm_num_groups": 4, "cema_ndim": 2, "chunk_size": 16,
}  # fmt: skip


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(PRESETS, "toy", SIZES)


def bench(*arguments):
    return cli.main(["bench", *map(str, arguments), "--preset", "toy", "--repeats", "1", "--device", "cpu"])


def test_model_times_both_models_at_every_context(tmp_path, capsys):
    assert bench("model", "--contexts", 16, 40, "--out", tmp_path / "new" / "model.json") == 0
    recording = json.loads((tmp_path / "new" / "model.json").read_text())
    assert recording["bench"] == "model" and recording["settings"]["contexts"] == [16, 40]
    assert [(row["context"], row["batch"], row["what"]) for row in recording["rows"]] == [
        *[(16, 256, "forward"), (16, 256, "training step")],
        *[(40, 102, "forward"), (40, 102, "training step")],
    ]
    for row in recording["rows"]:
        times = row["seconds"]
        assert times["megalodon"] > 0 and row["ratio"] == pytest.approx(times["transformer"] / times["megalodon"])
    said = capsys.readouterr().out
    assert said.count(" ms") == 8 and "ratio" in said


def test_a_recording_says_where_it_was_made(tmp_path):
    bench("decode", "--contexts", 4, "--out", tmp_path / "decode.json")
    about = json.loads((tmp_path / "decode.json").read_text())["environment"]
    assert {"device", "threads", "torch", "python", "megalodon-edu", "commit"} <= about.keys()
    assert about["device"] and about["threads"] >= 1


def test_decode_counts_the_bytes_of_both_states(tmp_path, capsys):
    from megalodon_edu.models import match_transformer, megalodon_state_bytes, transformer_state_bytes

    assert bench("decode", "--contexts", 5, 32, "--out", tmp_path / "decode.json") == 0
    rows = json.loads((tmp_path / "decode.json").read_text())["rows"]
    config = MegalodonConfig(**SIZES)
    for row in rows:
        assert row["state_bytes"]["megalodon"] == megalodon_state_bytes(config, row["context"])
        expected = transformer_state_bytes(match_transformer(config), row["context"])
        assert row["state_bytes"]["transformer"] == expected
        assert row["most_bytes"] == max(megalodon_state_bytes(config, length) for length in range(100))
        assert row["seconds"]["megalodon"] > 0 and row["seconds"]["transformer"] > 0
    assert f"{rows[1]['state_bytes']['transformer']:,}" in capsys.readouterr().out


def test_ops_compares_every_face_with_the_loop(tmp_path, capsys):
    assert bench("ops", "--contexts", 3, 70, "--out", tmp_path / "ops.json") == 0
    rows = json.loads((tmp_path / "ops.json").read_text())["rows"]
    assert [(row["context"], row["what"]) for row in rows] == [
        *[(3, "forward"), (3, "with gradients")],
        *[(70, "forward"), (70, "with gradients")],
    ]
    for row in rows:
        times = row["seconds"]
        assert times.keys() == {"loop", "fft", "chunked"}
        assert row["ratio"] == {name: pytest.approx(times["loop"] / time) for name, time in times.items()}
    assert capsys.readouterr().out.count(" ms") == 12


def test_the_faces_compute_the_same():
    inputs = operator_speed._inputs(70, 4, 2, torch.device("cpu"))
    expected = operator_speed.FACES["loop"](**inputs)[0]
    for face in operator_speed.FACES.values():
        torch.testing.assert_close(face(**inputs)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_line_is_printed_as_soon_as_it_is_measured(monkeypatch, capsys):
    def interrupted(args, device):
        yield {"context": 7, "what": "forward", "seconds": dict.fromkeys(operator_speed.FACES, 1.0),
               "ratio": dict.fromkeys(operator_speed.FACES, 1.0)}  # fmt: skip
        raise KeyboardInterrupt

    monkeypatch.setitem(command.BENCHES, "ops", command.BENCHES["ops"]._replace(measure=interrupted))
    assert bench("ops") == 130
    assert "1000.00 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "--contexts", "16", "0"], "context must be at least 2, got 0"),
        (["decode", "--contexts", "4", "0"], "context must be at least 1, got 0"),
        (["ops", "--contexts", "4", "0"], "context must be at least 1, got 0"),
    ],
)
def test_what_cannot_work_ends_with_one_message_and_before_anything_is_measured(arguments, message, capsys):
    assert bench(*arguments) == 1
    said = capsys.readouterr()
    assert message in said.err and " ms" not in said.out


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "--out must name a file, got the folder"),
        ("old.json/new.json", "old.json is a file; choose another place"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(place, message, tmp_path, capsys):
    (tmp_path / "old.json").touch()
    assert bench("ops", "--contexts", 4, "--out", tmp_path / place) == 1
    said = capsys.readouterr()
    assert message in said.err and " ms" not in said.out


def test_an_unknown_bench_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "coffee"])
    assert "invalid choice: 'coffee'" in capsys.readouterr().err
