"""One run of a task of recall: a tiny model learns it from fresh random sequences, then answers at other lengths.

    python -m megalodon_edu.studies.recall_run --task induction --model megalodon --seed 0 --rate 0.001 --out run.json

Training sequences are new in every step, the same ones for every model of a seed. Everything runs in float32.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.arguments import require_choice, require_positive
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import LanguageModel, Megalodon, MegalodonConfig, Transformer, match_transformer
from megalodon_edu.studies import associative_recall, induction
from megalodon_edu.studies.recall_task import RecallBatch, answers
from megalodon_edu.training.gradient import RecordedGradient, accumulate_gradient
from megalodon_edu.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.windows import to_device

TASKS = {"induction": induction, "associative-recall": associative_recall}
MODELS = ("megalodon", "megalodon-without-ema", "transformer")
# What the random numbers of a run are for: no sequence of a test was ever trained on or chosen by.
TRAIN, CHOOSE, TEST = range(3)
UNASKED = -100  # what PyTorch's cross-entropy leaves out


@dataclass(frozen=True)
class RecallBudget:
    """How long a run learns, and what it is asked afterwards. Induction has one question a sequence, so pairs are 0.

    sequences(length) of a test: `test_tokens` / length, but at least `least` and at most `most`. The Transformer, whose
    time grows with the square of the length, is asked up to `longest_of_transformer`.
    """

    steps: int
    batch: int
    length: int
    warmup_steps: int
    pairs: tuple[int, ...]
    test_lengths: tuple[int, ...]
    distance_length: int | None
    test_tokens: int = 2**22
    least: int = 16
    most: int = 512
    longest_of_transformer: int = 2**16
    looks: int = 20
    choose_batches: int = 8

    def sequences(self, length: int) -> int:
        """How many sequences of that length a test has."""
        return max(self.least, min(self.most, self.test_tokens // length))


BUDGETS = {
    "induction": RecallBudget(4000, 64, 256, 200, (0,), tuple(4**k for k in range(4, 11)), 4096),
    "associative-recall": RecallBudget(
        4000, 64, 256, 200, (4, 8, 16, 32, 64), (256, 1024, 4096, 16384), None, test_tokens=2**19, most=128
    ),
}
QUICK = {
    "induction": RecallBudget(4, 8, 32, 1, (0,), (32, 64), 64, test_tokens=256, least=4, looks=2),
    "associative-recall": RecallBudget(4, 8, 32, 1, (2, 4), (32, 64), None, test_tokens=256, least=4, looks=2),
}


class Look(NamedTuple):
    """After `step` steps: the last batch's loss in nats per question, and the accuracy on sequences kept apart."""

    step: int
    loss: float
    accuracy: float


class Tally(NamedTuple):
    """Questions of one kind, and how many were answered right; distances from `nearest` to less than twice that."""

    test: str
    length: int
    pairs: int
    nearest: int
    same_chunk: bool
    asked: int
    right: int


def build(
    name: str, vocabulary: int, seed: int, config: MegalodonConfig, length: int, backend: str = "auto"
) -> LanguageModel:
    """A new model of one of `MODELS`, sized like `config`: the Transformer has as many parameters as Megalodon.

    length: of the sequences that it learns from.

    Raises ValueError for another name.
    """
    require_choice("name", name, MODELS)
    config = replace(config, vocab_size=vocabulary)
    torch.manual_seed(seed)
    if name == "transformer":
        return Transformer(match_transformer(config, context_size=length), backend=backend)
    return Megalodon(replace(config, ema="none") if name == "megalodon-without-ema" else config, backend=backend)


def draw(task: str, count: int, length: int, pairs: int, generator: np.random.Generator) -> RecallBatch:
    """Sequences of a task of `TASKS`. Errors as the task's own function."""
    require_choice("task", task, TASKS)
    if task == "induction":
        return induction.induction_batch(count, length, generator)
    return associative_recall.associative_recall_batch(count, length, pairs, generator)


def train_on(
    model: LanguageModel,
    batch_of: Callable[[int], RecallBatch],
    options: TrainingOptions,
    looks: int,
    accuracy: Callable[[LanguageModel], float],
) -> list[Look]:
    """Train the model in place on batch_of(0), batch_of(1), ..., on the questions alone; look about `looks` times.

    AdamW with the package's groups and schedule; on a GPU the gradient's work is recorded at the first step, so batches
    must have one shape. Raises FloatingPointError if the loss is no longer finite.
    """
    device = next(model.parameters()).device

    def loss_of(rows: Tensor) -> Tensor:
        tokens, wanted = rows.chunk(2, dim=1)
        hidden, _ = model.hidden(tokens)
        return F.cross_entropy(model.logits(hidden).flatten(0, 1), wanted.flatten())

    recorded = RecordedGradient(model, 1, torch.float32, loss_of) if device.type == "cuda" else None
    optimizer = build_optimizer(model, options)
    every = -(-options.steps // looks)
    found = []
    for step in range(options.steps):
        set_learning_rate(optimizer, learning_rate(step, step / options.steps, options))
        rows = to_device(_with_answers(batch_of(step)), device)
        loss = recorded(rows) if recorded else accumulate_gradient(model, rows, 1, torch.float32, loss_of)
        nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        optimizer.step()
        if (step + 1) % every == 0 or step + 1 == options.steps:
            look = Look(step + 1, loss.item(), accuracy(model))
            if not math.isfinite(look.loss):
                raise FloatingPointError(f"the loss is {look.loss} at step {look.step}; lower the learning rate")
            found.append(look)
    return found


def _with_answers(batch: RecallBatch) -> Int[Tensor, "batch both"]:
    """The tokens, and beside them as many answers: what is wanted after each token, UNASKED where nothing is."""
    wanted = torch.full_like(batch.tokens, UNASKED)
    wanted[batch.rows, batch.places] = batch.answers
    return torch.cat([batch.tokens, wanted], 1)


def tally(
    model: LanguageModel, test: str, length: int, pairs: int, chunk: int, batches: Iterator[RecallBatch]
) -> list[Tally]:
    """Ask the model every question, and count by distance and by whether the answer stands in the question's chunk."""
    asked: Counter[tuple[int, bool]] = Counter()
    right: Counter[tuple[int, bool]] = Counter()
    for batch in batches:
        kinds = list(zip(_octave(batch.distances), batch.in_one_chunk(chunk).tolist(), strict=True))
        asked.update(kinds)
        hits = (answers(model, batch) == batch.answers).tolist()
        right.update(kind for kind, hit in zip(kinds, hits, strict=True) if hit)
    return [Tally(test, length, pairs, *kind, asked[kind], right[kind]) for kind in sorted(asked)]


def _octave(distances: Tensor) -> list[int]:
    """The largest power of 2 that is no larger."""
    return [1 << (distance.bit_length() - 1) for distance in distances.tolist()]


def examinations(
    task: str, budget: RecallBudget, seed: int, longest: int
) -> Iterator[tuple[str, int, int, Iterator[RecallBatch]]]:
    """Name, length, pairs and sequences of every test of at most `longest` tokens, the same for every model.

    "length": sequences as in training, but longer. "distance": of one length, the answer 1, 2, 4, ... tokens before.
    """
    for number, length in enumerate(budget.test_lengths):
        for pairs in budget.pairs if length <= longest else ():
            generator = np.random.default_rng([seed, TEST, number, pairs])
            yield "length", length, pairs, iter([draw(task, budget.sequences(length), length, pairs, generator)])
    if budget.distance_length is not None and budget.distance_length <= longest:
        generator = np.random.default_rng([seed, TEST, len(budget.test_lengths)])
        yield "distance", budget.distance_length, 0, _at_distances(budget, budget.distance_length, generator)


def _at_distances(budget: RecallBudget, length: int, generator: np.random.Generator) -> Iterator[RecallBatch]:
    count = max(budget.least, budget.sequences(length) // 8)
    for power in range((length - 2).bit_length()):
        yield induction.induction_batch(count, length, generator, 2**power)


def recall_run(
    task: str,
    name: str,
    seed: int,
    rate: float,
    budget: RecallBudget,
    config: MegalodonConfig,
    device: torch.device,
    backend: str = "auto",
) -> dict[str, Any]:
    """Train one new model on a task and ask it; what the run's file holds.

    "choice" is the last accuracy on sequences of the training length that belong to neither training nor tests:
    learning rates are chosen by it. Raises ValueError for an unknown task or model.
    """
    require_choice("task", task, TASKS)
    start = time.perf_counter()
    options = TrainingOptions(steps=budget.steps, learning_rate=rate, warmup_steps=budget.warmup_steps)
    model = build(name, TASKS[task].VOCABULARY, seed, config, budget.length, backend).to(device)

    def batch_of(step: int, purpose: int = TRAIN) -> RecallBatch:
        generator = np.random.default_rng([seed, purpose, step])
        return draw(task, budget.batch, budget.length, int(generator.choice(budget.pairs)), generator)

    kept_apart = [batch_of(number, CHOOSE) for number in range(budget.choose_batches)]

    def accuracy(model: LanguageModel) -> float:
        return torch.cat([answers(model, batch) == batch.answers for batch in kept_apart]).float().mean().item()

    looks = train_on(model, batch_of, options, budget.looks, accuracy)
    trained = time.perf_counter() - start
    longest = budget.longest_of_transformer if isinstance(model, Transformer) else max(budget.test_lengths)
    rows: list[Tally] = []
    for test, length, pairs, batches in examinations(task, budget, seed, longest):
        rows += tally(model, test, length, pairs, config.chunk_size, batches)
    return {
        "task": task,
        "model": name,
        "seed": seed,
        "learning_rate": rate,
        "parameters": model.parameter_count(),
        "config": model.config.to_dict(),
        "steps": budget.steps,
        "chunk": config.chunk_size,
        "budget": asdict(budget),
        "chance": TASKS[task].CHANCE,
        "choice": looks[-1].accuracy,
        "looks": [look._asdict() for look in looks],
        "tests": [row._asdict() for row in rows],
        "training_tokens": budget.steps * budget.batch * budget.length,
        "training_seconds": round(trained, 1),
        "seconds": round(time.perf_counter() - start, 1),
        "environment": environment(device),
    }


def sizes(task: str, steps: int = 0, quick: bool = False) -> tuple[RecallBudget, MegalodonConfig]:
    """Budget and sizes of the recorded runs, the preset `tiny` with chunks of 128; `quick`: for a CPU in seconds.

    steps: of training; 0: the budget's own. Raises ValueError for an unknown task or steps below 0.
    """
    require_choice("task", task, TASKS)
    require_positive("steps", steps, least=0)
    budget, config = (QUICK if quick else BUDGETS)[task], MegalodonConfig.preset("tiny")
    if steps:
        budget = replace(budget, steps=steps)
    if not quick:
        return budget, config
    small = replace(config, model_dim=16, z_dim=8, value_dim=16, ffn_hidden_dim=32, cema_ndim=2, chunk_size=16)
    return budget, small


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one run and write its file."""
    parser = argparse.ArgumentParser(description="Train a tiny model on a task of recall, and ask it.")
    parser.add_argument("--task", choices=tuple(TASKS), required=True)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="the learning rate's peak")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--steps", type=int, default=0, help="of training; 0: those of the recorded runs")
    parser.add_argument("--quick", action="store_true", help="sizes that a CPU finishes in seconds")
    args = parser.parse_args(arguments)
    budget, config = sizes(args.task, args.steps, args.quick)
    found = recall_run(args.task, args.model, args.seed, args.rate, budget, config, args.device)
    save_json(args.out, found)
    print(
        f"{args.task}, {args.model}, seed {args.seed}, rate {args.rate:g}: {found['choice']:.3f} answered", flush=True
    )


if __name__ == "__main__":
    main()
