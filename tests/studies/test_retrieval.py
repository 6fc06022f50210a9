"""The study makes the runs that are missing, chooses a learning rate by the first seed, and counts what they found."""

import csv
import importlib
import json

import numpy as np
import pytest
import torch
from tiny_recallers import megalodon, transformer

from megalodon_edu.models import with_config
from megalodon_edu.studies import retrieval
from megalodon_edu.studies.jobs import JobsReport
from megalodon_edu.studies.passkey import ask
from megalodon_edu.studies.passkey_run import gains, passkey_rows, passkey_run
from megalodon_edu.studies.recall_run import MODELS, Tally
from megalodon_edu.studies.retrieval import Recall, accuracies, chosen_rates, record, table

CPU = torch.device("cpu")


@pytest.fixture
def made(monkeypatch):
    """The names of the jobs that were made, in this process, which is faster than in their own."""
    names = []

    def run_jobs(jobs, at_once, logs, seconds=None):
        for job in jobs:
            if not job.result.exists():
                flag, module, *words = job.arguments
                assert flag == "-m"
                importlib.import_module(module).main(words)
                names.append(job.name)
            assert job.result.exists()
        return JobsReport(tuple(job.name for job in jobs), (), ())

    monkeypatch.setattr(retrieval, "run_jobs", run_jobs)
    return names


def test_a_quick_study_writes_its_files_and_goes_on_where_it_stopped(tmp_path, made):
    arguments = {"only": ("induction", "passkey"), "seeds": (0, 1), "learning_rates": (1e-3, 1e-2), "quick": True}
    record(tmp_path, CPU, **arguments)
    assert len(made) == len(set(made)) == 3 * 2 + 3 + 1  # models and rates, then the second seed, and the passkey
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["complete"] and set(about["tasks"]) == {"induction"}
    words = "--only induction passkey --seeds 0 1 --learning-rates 0.001 0.01"
    assert about["command"] == f"megalodon-edu study retrieval --out FOLDER {words}"
    for model in MODELS:
        said = about["tasks"]["induction"]["models"][model]
        best = max(said["tried"].values())
        assert said["tried"][f"{said['learning_rate']:g}"] == best
        assert f"induction-{model}-1-{said['learning_rate']:g}" in made
        for seed in ("0", "1"):
            run = json.loads(
                (tmp_path / "runs" / f"induction-{model}-{seed}-{said['learning_rate']:g}.json").read_text()
            )
            assert said["choice"]["seeds"][seed] == run["choice"]
            shares = accuracies([Tally(**row) for row in run["tests"]])
            for cell in said["tests"]:
                key = tuple(cell[name] for name in ("test", "length", "pairs", "distance", "where"))
                assert cell["seeds"].get(seed) == shares.get(key)
    assert list(about["passkey"]) == ["passkey-untrained"]
    with (tmp_path / "tests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == set(MODELS) and len({(row["model"], row["seed"]) for row in rows}) == 6
    made.clear()
    (tmp_path / "runs" / "induction-transformer-1-0.01.json").unlink(missing_ok=True)
    (tmp_path / "runs" / "induction-transformer-1-0.001.json").unlink(missing_ok=True)
    record(tmp_path, CPU, **arguments)
    assert len(made) == 1 and made[0].startswith("induction-transformer-1-")
    assert json.loads((tmp_path / "run.json").read_text())["tasks"] == about["tasks"]


def test_a_folder_with_other_settings_is_refused(tmp_path, made):
    few = {"only": ("associative-recall",), "seeds": (0,), "learning_rates": (1e-3,), "quick": True}
    record(tmp_path, CPU, **few)
    with pytest.raises(ValueError, match="holds runs of other settings, such as associative-recall-megalodon-0-0.001"):
        record(tmp_path, CPU, **few, steps=7)
    with pytest.raises(ValueError, match="only must be one of induction"):
        record(tmp_path, CPU, only=("reversal",))


def test_while_a_rate_is_untried_no_other_seed_is_begun(tmp_path, made, monkeypatch):
    make, asked = retrieval.run_jobs, []

    def only_the_first(jobs, at_once, logs, seconds=None):
        asked.extend(job.name for job in jobs)
        make(jobs[:1], at_once, logs)
        return JobsReport((jobs[0].name,), (), tuple(job.name for job in jobs[1:]))

    monkeypatch.setattr(retrieval, "run_jobs", only_the_first)
    record(tmp_path, CPU, only=("induction",), quick=True)
    assert made == ["induction-megalodon-0-0.001"]
    assert len(asked) == 6 and all("-0-" in name for name in asked)
    about = json.loads((tmp_path / "run.json").read_text())
    assert not about["complete"] and len(about["unfinished"]) == 5


def run_with(choice, loss):
    return {"choice": choice, "looks": [{"step": 1, "loss": loss, "accuracy": choice}]}


def test_the_rate_of_the_best_accuracy_is_chosen_and_the_lower_loss_decides_between_equals():
    found = {
        Recall("induction", "megalodon", 0, 1e-3): run_with(0.9, 0.1),
        Recall("induction", "megalodon", 0, 4e-3): run_with(0.8, 0.05),
        Recall("induction", "transformer", 0, 1e-3): run_with(1.0, 0.1),
        Recall("induction", "transformer", 0, 4e-3): run_with(1.0, 0.05),
    }
    assert chosen_rates(found) == {("induction", "megalodon"): 1e-3, ("induction", "transformer"): 4e-3}


def test_accuracies_are_shares_of_all_questions_of_a_kind():
    rows = [
        Tally("length", 64, 4, 8, True, 10, 9),
        Tally("length", 64, 4, 16, True, 30, 15),
        Tally("length", 64, 4, 16, False, 60, 0),
        Tally("distance", 64, 0, 16, False, 5, 1),
    ]
    assert accuracies(rows) == {
        ("length", 64, 4, None, "all"): 24 / 100,
        ("length", 64, 4, None, "in"): 24 / 40,
        ("length", 64, 4, None, "beyond"): 0,
        ("distance", 64, 0, 16, "all"): 1 / 5,
        ("distance", 64, 0, 16, "beyond"): 1 / 5,
    }


BOOK = b"It was a quiet morning, and nobody in the village had yet thought of the letter. " * 20


def test_every_text_of_a_trained_model_is_a_row_and_the_gain_is_what_the_trials_save():
    rows = passkey_rows(megalodon(256), BOOK, 64, (0.1, 0.75, 1.0, 2.0), trials=3, seed=0)
    kinds = {(row["probe"], row["condition"], row["distance"]) for row in rows}
    # 0.1 and 0.75 chunks are 6 and 48 bytes: too short for the planted number, or for the passage.
    assert kinds == {
        *(("passkey", name, distance) for name in ("other", "given") for distance in (48, 64, 128)),
        *(("copy", "given", distance) for distance in (64, 128)),
        ("passkey", "absent", None),
        ("copy", "absent", None),
    }
    assert len(rows) == 3 * len(kinds)
    assert {row["distance"] for row in rows if row["same_chunk"]} == {48}
    absent = [row["bits"] for row in rows if row["probe"] == "copy" and row["condition"] == "absent"]
    given = [row["bits"] for row in rows if row["probe"] == "copy" and row["distance"] == 64]
    line = next(line for line in gains(rows) if line["probe"] == "copy" and line["distance"] == 64)
    saved = [(before - after) / 56 for before, after in zip(absent, given, strict=True)]
    assert line["gain"]["mean"] == pytest.approx(sum(saved) / 3)
    assert line["gain"]["low"] <= min(saved) or line["gain"]["high"] >= max(saved)


def test_no_passage_stands_in_its_text_unplanted(monkeypatch):
    book, texts = np.random.default_rng(0).integers(1, 256, 300, dtype=np.uint8).tobytes(), []
    monkeypatch.setattr(
        "megalodon_edu.studies.passkey_run.ask",
        lambda model, some, *more: texts.extend(some) or ask(model, some, *more),
    )
    passkey_rows(megalodon(256), book, 64, (1.0,), trials=20, seed=0)
    copies = texts[-40:]  # of the second probe, 20 without and 20 with the passage planted
    assert [text.count(text[-64:-56]) for text in copies] == [1] * 20 + [2] * 20


def test_a_transformer_needs_a_unit_of_distance_and_a_text_must_fit_into_the_book():
    with pytest.raises(ValueError, match="chunk must be given for a Transformer"):
        passkey_run(transformer(256))
    with pytest.raises(ValueError, match="book must hold at least 4416 bytes"):
        passkey_rows(megalodon(256), BOOK, 256, (16.0,), trials=1, seed=0)
    with pytest.raises(ValueError, match="book must be one of Northanger Abbey"):
        passkey_run(megalodon(256), distances=(1.0,), trials=1, book="Emma")


def test_a_transformer_is_asked_inside_the_length_it_was_trained_on(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "megalodon_edu.studies.passkey_run.ask",
        lambda model, texts, *more: asked.append({len(text) for text in texts}) or ask(model, texts, *more),
    )
    small = with_config(transformer(256), context_size=384)
    found = passkey_run(small, chunk=128, distances=(0.75, 1.0, 2.0, 2.5, 16.0), trials=2)
    assert {line["distance"] for line in found["gains"]} == {None, 96, 128, 256}
    assert found["text_bytes"] == 384 and asked and all(lengths == {384} for lengths in asked)
    with pytest.raises(ValueError, match="chunk must be at most half of the Transformer's context of 384, got 256"):
        passkey_run(small, chunk=256, distances=(0.75, 1.0), trials=2)


def test_the_table_names_every_model_and_distance(tmp_path, made, capsys):
    record(tmp_path, CPU, only=("associative-recall", "passkey"), seeds=(0,), learning_rates=(1e-3,), quick=True)
    shown = capsys.readouterr().out
    assert shown.strip().endswith(table(json.loads((tmp_path / "run.json").read_text())))
    assert all(f"associative-recall, {model}," in shown for model in MODELS)
    assert "64 tokens, 4 asked" in shown and "copy, given," in shown


def test_the_command_of_a_study_of_trained_models_names_them():
    command = retrieval._command(["passkey"], ["runs/one", "librarian"], 1024, (0,), (1e-3,))
    assert (
        command == "megalodon-edu study retrieval --out FOLDER --only passkey --checkpoint one librarian --chunk 1024"
    )
