import argparse
import json
import shlex

import pytest
import torch

from megalodon_edu import cli, recordings
from megalodon_edu.cli import bench as command
from megalodon_edu.cli import bench_tables as tables
from megalodon_edu.measure import operator_speed, training_speed
from megalodon_edu.measure.operator_cases import SHAPES, Shapes
from megalodon_edu.models import PRESETS, MegalodonConfig

TINY = Shapes(((1, 6),), channels=4, modes=2, groups=2, chunk=4, key=2, value=6, vocabulary=8)
SIZES = {
    "num_layers": 1, "model_dim": 64, "num_heads": 1, "z_dim": 16, "value_dim": 64, "ffn_hidden_dim": 64,
    "norm_num_groups": 4, "cema_ndim": 2, "chunk_size": 16,
}  # fmt: skip


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(PRESETS, "toy", SIZES)


def bench(*arguments):
    preset = [] if arguments[0] in ("kernels", "errors") else ["--preset", "toy"]
    return cli.main(["bench", *map(str, arguments), *preset, "--repeats", "1", "--device", "cpu"])


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


def test_a_recording_can_ship_with_the_course(tmp_path, monkeypatch):
    """It has what `recordings` wants of a run.json, and its command measures the same again."""
    folder = tmp_path / "kernels_here"
    monkeypatch.setattr(recordings, "HERE", tmp_path)
    monkeypatch.setitem(SHAPES, "small", TINY)
    assert bench("kernels", "--out", folder / "run.json") == 0
    about = recordings.recording("kernels_here").about
    assert about["config"]["channels"] == 4 and about["config"]["rates"]["bytes_per_second"] > 0
    assert about["seed"] == 0 and about["wall_seconds"] > 0 and about["rows"]
    words = shlex.split(about["command"])
    assert words[:3] == ["megalodon-edu", "bench", "kernels"]
    assert cli.main([*words[1:], "--out", str(folder / "run.json")]) == 0
    again = recordings.recording("kernels_here").about
    assert again["settings"] == about["settings"] and again["command"] == about["command"]


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


def test_kernels_are_measured_beside_peers_and_floor(monkeypatch, capsys):
    monkeypatch.setitem(SHAPES, "small", TINY)
    assert bench("kernels") == 0
    said = capsys.readouterr().out
    assert "TB/s (read + written)" in said and "TFLOP/s" in said and "in another run" in said
    for work in ("Timestep Norm", "CEMA", "CEMA layer", "chunk attention", "head + cross-entropy", "RMSNorm"):
        assert f"\n{work}  " in said or f"\n{work} " in said
    assert ("No kernels: " in said) != ("interpreter runs the kernels here" in said)


def test_a_kernels_line_says_what_is_missing_and_what_was_not_a_graph():
    row = {
        "work": "CEMA", "shape": (8, 4096, 1024), "what": "forward", "seconds": {"triton": 1e-4, "torch": 5e-3},
        "how": {"triton": "CUDA graph", "torch": "CUDA events"}, "peak_bytes": {"triton": 2**20, "torch": 2**30},
        "floor": {"seconds": 5e-5}, "over_floor": 2.0, "ratio": 50.0,
        "notes": {"compiled": "does not compile (ValueError: complex)"},
    }  # fmt: skip
    first, note, events = tables.kernel_line(row).splitlines()
    assert first.split() == [
        *["CEMA", "8", "x", "4096", "x", "1024", "forward", "0.100", "5.000", "-", "0.050", "2.00", "50.00"],
        *["1.0", "1024.0", "-", "0.98"],
    ]
    assert note.strip() == "compiled: does not compile (ValueError: complex)" and events.endswith("graph: torch")


def error_row(**changes):
    row = {"work": "CEMA", "dtype": "float32", "shape": (3, 15, 8), "past": "given", "limit": 1e-5, "worst": "dx"}
    return row | {"errors": {"y": 0.0, "dx": 2e-6}, "same_bits": True, "within": True} | changes


@pytest.mark.parametrize(
    ("changes", "said", "status"),
    [
        ({}, "given           dx              2.0e-06    1e-05", 0),
        ({"errors": {"dx": 3e-4}, "within": False}, "3.0e-04    1e-05  above", 1),
        ({"errors": {"dx": None}, "within": False}, "not finite    1e-05  above", 1),
        ({"same_bits": False, "within": False}, "2.0e-06    1e-05  other bits in a second run", 1),
        ({"note": "out of memory", "worst": None, "errors": {}, "within": False}, "given           out of memory", 1),
    ],
)
def test_errors_fail_where_a_row_is_above_its_limit(changes, said, status, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(tables, "why_not", lambda device: None)
    monkeypatch.setattr(tables, "kernel_errors", lambda *_: iter([error_row(), error_row(**changes)]))
    assert bench("errors", "--out", tmp_path / "errors.json") == status
    printed = capsys.readouterr().out
    assert any(
        line.startswith("CEMA ") and "3 x 15 x 8" in line and line.endswith(said) for line in printed.splitlines()
    )
    assert ("1 of 2 rows are not within their limits" in printed) == bool(status)
    recording = json.loads((tmp_path / "errors.json").read_text())
    assert recording["config"]["dtypes"] == ["float32"] and recording["rows"][1]["errors"].keys() <= {"y", "dx"}


def test_errors_need_a_place_where_kernels_run_in_that_type(monkeypatch, capsys):
    monkeypatch.setattr(tables, "why_not", lambda device: "there is no GPU")
    assert bench("errors") == 1
    assert "errors of kernels need a place where kernels run: there is no GPU" in capsys.readouterr().err
    monkeypatch.setattr(tables, "why_not", lambda device: None)
    assert bench("errors", "--precision", "bfloat16") == 1
    assert "--precision must be float32 or auto for errors on a CPU, got bfloat16" in capsys.readouterr().err


def test_model_at_fixed_shapes(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(tables.TRAINING_SHAPES, "small", ((2, 16), (1, 32)))
    assert bench("model", "--shapes", "small", "--out", tmp_path / "model.json") == 0
    rows = json.loads((tmp_path / "model.json").read_text())["rows"]
    first = [row["model"] for row in rows if row["batch"] == 2]
    assert first[0] == training_speed.BASELINE and "Megalodon, torch" in first
    said = capsys.readouterr().out
    assert "2 x 16" in said and "1 x 32" in said and "K tokens/s" in said


def test_decode_at_fixed_positions(capsys):
    assert bench("decode", "--shapes", "small") == 0
    said = capsys.readouterr().out
    assert f"{488 * 16:,}  Megalodon" in said and "random state" in said


def test_a_line_without_numbers_says_why():
    row = {"model": "Megalodon, torch", "compiled": False, "batch": 8, "context": 4096, "position": 7}
    row |= {"note": "out of memory", "ratio": None}
    assert tables.training_line(row).endswith("  out of memory")
    assert tables.steps_line(row).endswith("  out of memory")


def test_after_the_limit_no_row_begins(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(SHAPES, "small", TINY)
    assert bench("kernels", "--limit", "1e-6", "--out", tmp_path / "kernels.json") == 0
    assert "the limit of 1e-06 seconds is reached" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "kernels.json").read_text())["rows"]) == 1


def test_a_gpu_takes_the_fixed_shapes_of_the_large_preset():
    def chosen(*words, device):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        args = parser.parse_args(words)
        return tables.choose_bench(args, torch.device(device)), args

    bench, args = chosen("model", device="cuda")
    assert bench is tables.BY_SHAPE["model"] and (args.shapes, args.preset, args.compile) == ("full", "200M", True)
    bench, args = chosen("model", device="cpu")
    assert bench is tables.BY_CONTEXT["model"] and (args.preset, args.compile, args.repeats) == ("tiny", False, 7)
    bench, args = chosen("decode", "--contexts", "4", device="cuda")
    assert bench is tables.BY_CONTEXT["decode"] and args.contexts == [4]
    bench, args = chosen("decode", "--shapes", "small", device="cpu")
    assert bench is tables.BY_SHAPE["decode"] and args.preset == "tiny"
    bench, args = chosen("kernels", device="cpu")
    assert bench is tables.BY_SHAPE["kernels"] and args.shapes == "small"


def test_the_faces_compute_the_same():
    inputs = operator_speed._inputs(70, 4, 2, torch.device("cpu"))
    expected = operator_speed.FACES["loop"](**inputs)[0]
    for face in operator_speed.FACES.values():
        torch.testing.assert_close(face(**inputs)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_line_is_printed_as_soon_as_it_is_measured(monkeypatch, capsys):
    def interrupted():
        yield {"context": 7, "what": "forward", "seconds": dict.fromkeys(operator_speed.FACES, 1.0),
               "ratio": dict.fromkeys(operator_speed.FACES, 1.0)}  # fmt: skip
        raise KeyboardInterrupt

    def measure(args, device):
        return tables.Measured({}, interrupted())

    monkeypatch.setitem(tables.BY_CONTEXT, "ops", tables.BY_CONTEXT["ops"]._replace(measure=measure))
    assert bench("ops") == 130
    assert "1000.00 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "--contexts", "16", "0"], "context must be at least 2, got 0"),
        (["decode", "--contexts", "4", "0"], "context must be at least 1, got 0"),
        (["ops", "--contexts", "4", "0"], "context must be at least 1, got 0"),
        (["kernels", "--contexts", "4"], "--contexts must go with model, decode or ops, and without --shapes, got [4]"),
        (["model", "--contexts", "4", "--shapes", "full"], "--contexts must go with"),
        (["errors", "--contexts", "4"], "--contexts must go with model, decode or ops, and without --shapes, got [4]"),
        (["ops", "--shapes", "small"], "--shapes must go with kernels, errors, model, decode, got small for ops"),
        (["ops", "--limit", "0"], "--limit must be a finite number above 0, got 0"),
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
