import json

import numpy as np
import pytest
import torch

from megalodon_edu.studies import long_context
from megalodon_edu.studies.bootstrap import mean_interval
from megalodon_edu.studies.context_lines import Line, read_lines, save_lines, summary, table
from megalodon_edu.studies.long_context import AS_TRAINED, READERS, RECENT, SLIDING, WHOLE, record

CPU = torch.device("cpu")


def about(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    record(folder, CPU, quick=True)
    return folder


def test_every_reader_scores_the_same_windows_after_every_context(quick):
    lines, run = read_lines(quick / "windows.csv"), about(quick)
    places = {(line.book, line.window): line.start for line in lines}
    assert all(places[line.book, line.window] == line.start for line in lines)
    assert {line.reader for line in lines} == set(READERS) == set(run["readers"])
    contexts = {name: sorted({line.context for line in lines if line.reader == name}) for name in READERS}
    assert contexts[AS_TRAINED] == contexts[SLIDING] == [0, 4, 8, 16, 64, 256, 1024, 1600]
    assert contexts[WHOLE] == contexts[RECENT] == [0, 4, 8, 16, 64, 256]
    assert len(lines) == 20 * len(run["cells"]) == 20 * len(run["summary"])
    read = {name: sum(cell["bytes"] for cell in run["cells"] if cell["reader"] == name) for name in READERS}
    assert read[AS_TRAINED] == 2 * 20 * sum(context + 8 for context in contexts[AS_TRAINED])
    assert run["bytes"] == sum(read.values()) and run["seconds"] > 0


def test_each_book_has_its_own_rows_and_split(quick):
    rows = about(quick)["summary"]
    assert {(row["book"], row["split"]) for row in rows} == {
        ("Northanger Abbey", "validation"),
        ("Macbeth", "validation"),
    }
    assert "Northanger Abbey   validation    1,600" in table(rows)


def test_what_a_sliding_window_cannot_see_is_not_read_again(quick):
    cells = [cell for cell in about(quick)["cells"] if cell["reader"] == SLIDING and cell["book"] == "Macbeth"]
    assert [(cell["context"], cell["read"]) for cell in cells[-4:]] == [(64, 32), (256, 32), (1024, 32), (1600, 32)]
    assert [cell["bytes"] for cell in cells[-4:]] == [20 * 40, 0, 0, 0]


def test_a_second_call_goes_on_where_the_first_ended(tmp_path, monkeypatch, quick):
    score, calls = long_context.window_bits, []

    def stop_after_three(*arguments, **more):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(arguments)
        return score(*arguments, **more)

    monkeypatch.setattr(long_context, "window_bits", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, CPU, quick=True, only=[AS_TRAINED])
    assert len(about(tmp_path)["cells"]) == 3
    with (tmp_path / "windows.csv").open("a") as file:  # as if it had been stopped between the two files
        file.write("megalodon,Macbeth,validation,64,0,1600,1.0\n")
    monkeypatch.setattr(long_context, "window_bits", lambda *a, **m: calls.append(a) or score(*a, **m))
    record(tmp_path, CPU, quick=True, only=[AS_TRAINED])
    assert len(calls) == len(about(tmp_path)["cells"]) == 16
    whole = [line for line in read_lines(quick / "windows.csv") if line.reader == AS_TRAINED]
    assert sorted(read_lines(tmp_path / "windows.csv")) == sorted(whole)


def test_a_limit_of_time_names_what_is_unfinished(tmp_path, monkeypatch, capsys):
    clock = iter(range(10**6))
    monkeypatch.setattr(long_context.time, "perf_counter", lambda: next(clock))
    record(tmp_path, CPU, quick=True, only=[AS_TRAINED], seconds=8)  # a cell looks at the clock three times
    run = about(tmp_path)
    assert len(run["cells"]) == len(run["summary"]) == 3
    assert [cell["context"] for cell in run["unfinished"][:5]] == [16, 64, 256, 1024, 1600]
    assert len(run["unfinished"]) == 13 and "Not finished: 13 of the contexts" in capsys.readouterr().out
    record(tmp_path, CPU, quick=True, only=[AS_TRAINED])
    assert len(about(tmp_path)["cells"]) == 16 and about(tmp_path)["unfinished"] == []


def test_a_reader_that_fails_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    score = long_context.window_bits

    def no_room(model, text, starts, context, *more):
        if context == 16 and len(text) > 400_000:  # in Northanger Abbey alone
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score(model, text, starts, context, *more)

    monkeypatch.setattr(long_context, "window_bits", no_room)
    record(tmp_path, CPU, quick=True, only=[AS_TRAINED])
    run = about(tmp_path)
    failed = {"reader": AS_TRAINED, "book": "Northanger Abbey", "context": 16, "why": "out of memory"}
    assert run["failed"] == [failed] and len(run["cells"]) == 3 + 8 and len(run["unfinished"]) == 5
    monkeypatch.setattr(long_context, "window_bits", score)
    record(tmp_path, CPU, quick=True, only=[AS_TRAINED])
    assert about(tmp_path)["failed"] == about(tmp_path)["unfinished"] == []


def test_a_folder_takes_no_other_settings_and_no_other_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(long_context, "LADDER", (0, 1))
    record(tmp_path, CPU, quick=True, only=[AS_TRAINED])
    with pytest.raises(ValueError, match="other settings; choose another folder"):
        record(tmp_path, CPU, quick=True, only=[AS_TRAINED], seed=1)
    made = long_context._quick_models

    def others(device):
        models = made(device)
        with torch.no_grad():
            models[0].embed.weight[0] += 1
        return models

    monkeypatch.setattr(long_context, "_quick_models", others)
    with pytest.raises(ValueError, match="other weights"):
        record(tmp_path, CPU, quick=True, only=[AS_TRAINED])


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(ValueError, match="checkpoint must name a trained Megalodon"):
        record(tmp_path, CPU)
    with pytest.raises(ValueError, match="only must be one of megalodon,"):
        record(tmp_path, CPU, checkpoint="bookworm", only=["mamba"])
    with pytest.raises(ValueError, match="only names 'transformer', for which no model is given"):
        record(tmp_path, CPU, checkpoint="bookworm", only=[WHOLE])


def test_differences_are_taken_window_by_window():
    """All windows vary much and alike; what the context brings is small and steady, and the interval sees it."""
    hard = np.random.default_rng(0).normal(1000, 200, 100)
    gain = {0: 100.0, 8: 0.0, 32: -2.0}
    lines = [
        Line(reader, "A", "test", context, n, 0, hard[n] + gain[context] + extra + n % 2)
        for reader, extra in (("first", 0.0), ("second", 5.0))
        for context in gain
        for n in range(100)
    ]
    rows = {(row["reader"], row["context"]): row for row in summary(lines, "first", 8, 10)}
    assert rows["first", 8]["minus_training_context"] is None
    assert rows["first", 32]["minus_training_context"] == pytest.approx([-0.2] * 3)
    assert rows["first", 32]["minus_nothing"] == pytest.approx([-10.2] * 3)
    assert rows["first", 0]["minus_nothing"] is None and rows["first", 0]["minus_baseline"] is None
    assert rows["second", 32]["minus_baseline"] == pytest.approx([0.5] * 3)
    assert rows["second", 8]["bits_per_byte"] == pytest.approx(
        list(mean_interval(hard / 10 + 0.5 + np.arange(100) % 2 / 10))
    )
    assert rows["first", 8]["bits_per_byte"][2] - rows["first", 8]["bits_per_byte"][0] > 2


def test_only_a_table_of_windows_is_read(tmp_path):
    lines = [Line("a", "A, or B", "test", 8, 0, 17, 12.25)]
    save_lines(tmp_path / "windows.csv", lines)
    assert read_lines(tmp_path / "windows.csv") == lines
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="holds no windows"):
        read_lines(tmp_path / "other.csv")
