import re
from pathlib import Path

import pytest

from megalodon_edu.data import documents
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.recordings import names, recording
from megalodon_edu.training.log import read_log
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.windows import RandomWindows, concatenate


def readme():
    """The words of the README, whatever its lines are."""
    return " ".join((Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8").split())


def values(about, name):
    """All values of that name, at any depth."""
    if isinstance(about, dict):
        yield from ([about[name]] if name in about else [])
        yield from (found for part in about.values() for found in values(part, name))


@pytest.mark.parametrize("name", names())
def test_a_recording_says_how_it_came_about(name):
    about = recording(name).about
    assert about["command"].startswith(("megalodon-edu ", "python -m megalodon_edu."))
    machines = list(values(about, "environment"))
    assert machines  # one, or one for each of a recording's parts
    for machine in machines:
        assert {"device", "python", "torch", "commit"} <= set(machine)
        assert re.fullmatch("[0-9a-f]{12}", machine["commit"])  # no "+": nothing was changed and not committed
    assert any(isinstance(seed, int) for seed in values(about, "seed"))
    assert all(values(about, "config")) and any(values(about, "config"))


def test_the_run_on_two_cores_ends_in_time_below_its_goal():
    run = recording("tiny_cpu")
    rows = read_log(run.folder / "log.csv")
    assert run.about["environment"]["threads"] == 2 and run.about["wall_seconds"] < 600
    assert rows[-1].seconds < run.about["wall_seconds"]
    assert [row.step for row in rows] == list(range(1, run.about["steps"] + 1))
    score = run.about["validation"]
    assert score["complete"] and score["bits_per_byte"] < 2.3
    looks = [row.validation_bits_per_byte for row in rows if row.validation_bits_per_byte is not None]
    assert len(looks) == run.about["steps"] // run.about["options"]["evaluate_every"]
    assert looks == sorted(looks, reverse=True) and looks[-1] == pytest.approx(score["bits_per_byte"], abs=0.1)


def test_the_score_of_the_run_on_two_cores_counts_every_byte_of_the_validation_split():
    score = recording("tiny_cpu").about["validation"]
    held_out = documents("validation")
    found = [(one["title"], one["size"], one["scored"]) for one in score["documents"]]
    assert found == [(one.title, one.size, one.size) for one in held_out]
    bits, size = sum(one["bits"] for one in score["documents"]), sum(one.size for one in held_out)
    assert (score["scored"], score["bits_per_byte"]) == (size, pytest.approx(bits / size))


def test_the_run_on_two_cores_can_be_begun_again():
    """Its sizes build a model, its options are options, and its windows are cut from the texts that are bundled."""
    about = recording("tiny_cpu").about
    assert Megalodon(MegalodonConfig.from_dict(about["config"])).parameter_count() == about["parameters"]
    assert TrainingOptions(**about["options"]).max_seconds == 480
    sizes = {name: about["windows"][name] for name in ("batch", "length", "seed", "source")}
    assert RandomWindows(concatenate(documents("train")), **sizes).description() == about["windows"]
    last = read_log(recording("tiny_cpu").folder / "log.csv")[-1]
    assert last.tokens == about["steps"] * sizes["batch"] * sizes["length"]


def test_the_score_in_the_readme_is_the_recorded_one():
    said = readme()
    about = recording("tiny_cpu").about
    assert f"it came to {about['validation']['bits_per_byte']:.3f} bits per byte of the validation split" in said
    assert f"for at most {about['options']['max_seconds'] / 60:g} minutes" in said


def test_an_unknown_recording_is_refused():
    with pytest.raises(ValueError, match="name must be one of .*tiny_cpu.*, got 'huge_gpu'"):
        recording("huge_gpu")


def test_the_readme_says_what_the_recording_of_bookworm_says():
    about = recording("bookworm").about
    said = readme()
    assert f"Megalodon of {about['parameters'] / 1e6:.2f} million parameters" in said
    assert f"for {about['seconds'] / 60:.1f} minutes on one H100" in said and "H100" in about["environment"]["device"]
    assert f"needs {about['validation']['bits_per_byte']:.3f} bits per byte of the validation split" in said


def test_the_readme_says_what_the_recording_of_librarian_says():
    about = recording("librarian").about
    said = readme()
    assert f"`librarian` has {about['parameters'] / 1e6:.2f} million" in said
    assert f"for {about['seconds'] / 60:.0f} minutes on one H200" in said and "H200" in about["environment"]["device"]
    assert f"windows of {about['windows']['length']} bytes" in said
    assert f"with the Triton kernels: {about['validation']['bits_per_byte']:.3f} bits per byte" in said
    scores = [f"{about[split]['bits_per_byte']:.3f}" for split in ("test", "test-ood")]
    assert f"and {scores[0]} and {scores[1]} of the splits `test` and `test-ood`" in said
    assert all(about[split]["complete"] for split in ("validation", "test", "test-ood"))
    assert about["parameters"] <= 16e6


def test_the_runs_beside_librarian_differ_from_it_in_what_their_names_say():
    about = recording("librarian").about
    transformer, decay = (recording(f"librarian_{name}").about for name in ("transformer", "decay"))
    assert transformer["model"] == "transformer" and decay["config"] == {**about["config"], "norm": "decay"}
    assert abs(transformer["parameters"] / about["parameters"] - 1) < 0.02
    assert transformer["steps"] == about["steps"] and 0.9 < decay["steps"] / about["steps"] < 0.91
    for other in (transformer, decay):
        assert other["windows"] == about["windows"] and other["seconds"] < 480
        same = ("learning_rate", "warmup_steps", "weight_decay", "betas", "clip", "precision")
        assert all(other["options"][name] == about["options"][name] for name in same)


def test_the_readme_says_what_the_recording_of_whole_models_says():
    said = readme()
    rows = {
        (row["model"], row["context"]): row["seconds"]
        for row in recording("model_h200").about["rows"]
        if row["compiled"] and not row["recompute"]
    }
    shares = {context: rows["Megalodon, Triton", context] / rows["Transformer", context] for context in (4096, 32768)}
    assert "takes as long as a Transformer of that size for 8 × 4096 tokens" in said and 0.95 < shares[4096] < 1.05
    assert "about a third of its time for 1 × 32,768" in said and 0.3 < shares[32768] < 0.36


def test_the_readme_says_what_the_comparison_found():
    about = recording("comparison").about
    said = readme()
    difference, speed = about["megalodon_less_transformer"], about["speed"]
    assert about["complete"] and len(about["seeds"]) == 3
    assert f"Transformer of {about['models']['transformer']['parameters'] / 1e6:.2f} million parameters" in said
    interval = f"95 % interval {-difference['high']:.2f} to {-difference['low']:.2f}"
    assert f"needs {-difference['mean']:.2f} bits per byte less (three seeds, {interval})" in said
    share = speed["megalodon"]["compiled"] / speed["transformer"]["compiled"]
    assert f"reads {share:.2f} times as many bytes a second in training" in said


def test_the_readme_and_chapter_12_say_what_the_streams_did():
    streams = recording("streaming").about["streams"]
    megalodon, transformer = streams["megalodon"], streams["transformer"]
    assert (megalodon["ended"], megalodon["bytes"]) == ("finished", 1_000_000)
    assert megalodon["blocks"][-1]["bytes_per_second"] >= megalodon["blocks"][0]["bytes_per_second"]
    assert transformer["ended"] == "ten times as slow as in the first block"
    most = {name: max(block["state_bytes"] for block in one["blocks"]) for name, one in streams.items()}
    said = readme()
    assert f"with a state of at most {most['megalodon'] / 1e6:.0f} MB" in said
    kept = f"{most['transformer'] / 1e9:.1f} GB"
    assert f"ten times as slow after {transformer['bytes']:,} bytes, and kept {kept}" in said
    chapter = (Path(__file__).resolve().parents[2] / "notebooks" / "12_train_a_small_model.ipynb").read_text("utf-8")
    assert f"after {transformer['bytes']:,} bytes, of which it kept 7 gigabytes" in chapter and kept == "7.1 GB"
