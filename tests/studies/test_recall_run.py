"""A run learns a task that is easy enough, and its file counts every question of every test."""

import json
from itertools import groupby

import numpy as np
import pytest
import torch
from tiny_recallers import CONFIG, Lookup, megalodon, transformer

from megalodon_edu.studies import recall_run as runs
from megalodon_edu.studies.associative_recall import associative_recall_batch
from megalodon_edu.studies.induction import VOCABULARY, induction_batch
from megalodon_edu.studies.recall_run import QUICK, build, examinations, main, recall_run, sizes, tally, train_on
from megalodon_edu.studies.recall_task import answers
from megalodon_edu.training.options import TrainingOptions

CPU = torch.device("cpu")


@pytest.mark.parametrize("make", [megalodon, transformer])
def test_a_tiny_model_learns_induction_on_sequences_it_never_saw(make):
    model = make(VOCABULARY)
    apart = induction_batch(300, 5, np.random.default_rng([1, 0]))
    looks = train_on(
        model,
        lambda step: induction_batch(64, 5, np.random.default_rng([0, step])),
        TrainingOptions(steps=80, learning_rate=0.02, warmup_steps=10),
        looks=2,
        accuracy=lambda model: (answers(model, apart) == apart.answers).float().mean().item(),
    )
    assert [look.step for look in looks] == [40, 80]
    assert looks[-1].accuracy > 0.9


def test_training_asks_at_the_questions_alone():
    batch = induction_batch(2, 6, np.random.default_rng(0))
    both = runs._with_answers(batch)
    assert torch.equal(both[:, :6], batch.tokens)
    assert both[:, 6:].tolist() == [[runs.UNASKED] * 5 + [answer] for answer in batch.answers.tolist()]


def test_a_loss_that_is_not_finite_ends_the_run():
    model = megalodon(VOCABULARY)
    model.output.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1; lower the learning rate"):
        train_on(
            model,
            lambda step: induction_batch(2, 8, np.random.default_rng(step)),
            TrainingOptions(steps=1),
            looks=1,
            accuracy=lambda model: 0.0,
        )


def test_the_three_models_are_of_one_size_and_one_of_them_has_no_moving_average():
    models = {name: build(name, 256, 0, sizes("induction")[1], 256, "torch") for name in runs.MODELS}
    counts = {name: model.parameter_count() for name, model in models.items()}
    assert counts["transformer"] == pytest.approx(counts["megalodon"], rel=0.02)
    assert counts["megalodon-without-ema"] < counts["megalodon"]
    names = {name: [part for part, _ in model.named_parameters() if "cema" in part] for name, model in models.items()}
    assert names["megalodon"] and not names["megalodon-without-ema"] and not names["transformer"]
    with pytest.raises(ValueError, match="name must be one of megalodon"):
        build("mamba", 256, 0, CONFIG, 32)


def test_a_tally_counts_by_octave_and_chunk():
    batches = [associative_recall_batch(30, 32, 3, np.random.default_rng(seed)) for seed in (0, 1)]
    rows = tally(Lookup(), "length", 32, 3, 16, iter(batches))
    assert sum(row.asked for row in rows) == sum(row.right for row in rows) == 2 * 30 * 3
    distances = torch.cat([batch.distances for batch in batches])
    inside = torch.cat([batch.in_one_chunk(16) for batch in batches])
    for row in rows:
        assert (
            row.asked == ((distances >= row.nearest) & (distances < 2 * row.nearest) & (inside == row.same_chunk)).sum()
        )
    spoiled = [batch._replace(answers=(batch.answers + 1) % 256) for batch in batches]
    assert sum(row.right for row in tally(Lookup(), "length", 32, 3, 16, iter(spoiled))) == 0


@pytest.mark.parametrize("task", runs.TASKS)
def test_the_tests_are_the_same_for_every_model_and_were_never_trained_on(task):
    budget = QUICK[task]

    def sequences(seed):
        return [batch.tokens for *_, batches in examinations(task, budget, seed, 64) for batch in batches]

    assert all(map(torch.equal, sequences(0), sequences(0)))
    assert not all(map(torch.equal, sequences(0), sequences(1)))
    lengths = [length for _, length, *_ in examinations(task, budget, 0, 32)]
    assert lengths and set(lengths) == {32}, "a test is longer than the model may read"


@pytest.mark.parametrize("task", runs.TASKS)
@pytest.mark.parametrize("name", runs.MODELS)
def test_a_quick_run_writes_its_file(task, name, tmp_path):
    out = tmp_path / "run.json"
    main(["--task", task, "--model", name, "--seed", "1", "--rate", "0.01", "--out", str(out), "--quick"])
    found = json.loads(out.read_text())
    assert (found["task"], found["model"], found["seed"], found["learning_rate"]) == (task, name, 1, 0.01)
    assert found["looks"][-1]["step"] == found["budget"]["steps"] and found["choice"] == found["looks"][-1]["accuracy"]
    budget = QUICK[task]
    for (test, length, pairs), rows in groupby(found["tests"], lambda row: (row["test"], row["length"], row["pairs"])):
        count = budget.sequences(length) * max(1, pairs)
        if test == "length":
            assert sum(row["asked"] for row in rows) == count
    assert {row["length"] for row in found["tests"]} == {32, 64}


def test_a_run_repeats_itself():
    budget, config = sizes("induction", quick=True)
    first, second = (recall_run("induction", "megalodon", 3, 0.01, budget, config, CPU) for _ in range(2))
    assert first["looks"] == second["looks"] and first["tests"] == second["tests"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("task", runs.TASKS)
@pytest.mark.parametrize("name", runs.MODELS)
def test_a_gpu_whose_steps_are_recorded_learns_as_a_cpu_does(task, name):
    budget, config = sizes(task, quick=True)
    found = [recall_run(task, name, 0, 1e-3, budget, config, torch.device(device)) for device in ("cpu", "cuda")]
    losses = [[look["loss"] for look in run["looks"]] for run in found]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert [(row["test"], row["asked"]) for row in found[0]["tests"]] == [
        (row["test"], row["asked"]) for row in found[1]["tests"]
    ]
