"""The recorded training runs in collections, each for one question, so that a list of them stays short.

Runs of a study share a GPU while they train, so the seconds of their logs tell of their neighbours too. Where each
model's speed was measured alone, a row's seconds are its bytes divided by that speed; elsewhere there are none to show.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from megalodon_edu.recordings import recording
from megalodon_edu.studies.ablations import VARIANTS
from megalodon_edu.studies.comparison import MODELS
from megalodon_edu.training.log import LogRow, read_log

LOOKS = "Validation: quick looks at the beginnings of its texts; the study's scores are of the whole texts."
SINGLE = ("bookworm", "librarian", "tiny_cpu")
BESIDE_LIBRARIAN = {
    "librarian": "librarian's run",
    "librarian_transformer": "as a Transformer",
    "librarian_decay": "with statistics that fade",
}


class RunCollection(NamedTuple):
    """Runs that answer one question: their logs and variants by label, what they are, and whether seconds mean much."""

    logs: Mapping[str, Sequence[LogRow]]
    variants: Mapping[str, str]
    note: str = ""
    timed: bool = True


def recorded_runs() -> dict[str, RunCollection]:
    """All collections by their names; a run that was not recorded is left out."""
    return {
        "the course's models": _models(),
        "Megalodon against the Transformer": _comparison(),
        "librarian beside a Transformer": _beside_librarian(),
        "one part changed at a time": _ablations(),
        "learning rates tried": _rates(),
    }


def _models() -> RunCollection:
    about = {name: recording(name).about for name in SINGLE}
    sizes = "; ".join(
        f"{name}: {said['parameters'] / 1e6:.2f} million parameters, on an {said['environment']['device']}"
        for name, said in about.items()
    )
    logs = {name: read_log(recording(name).folder / "log.csv") for name in SINGLE}
    return RunCollection(
        logs, {name: name for name in SINGLE}, sizes + ". Seconds are those of each run's own machine."
    )


def _comparison() -> RunCollection:
    folder, about = recording("comparison")
    speeds = {model: about["speed"][model]["compiled"] for model in MODELS}
    logs, variants = _found(folder, {model: model.capitalize() for model in MODELS}, about["seeds"])
    timed = {
        label: [replace(row, seconds=row.tokens / speeds[variants[label].lower()]) for row in rows]
        for label, rows in logs.items()
    }
    millions = about["models"]["megalodon"]["parameters"] / 1e6
    note = (
        f"{millions:.2f} million parameters each; runs of a seed read the same windows in the same order. Seconds: "
        f"bytes read at the speed that each model, compiled, had alone on an {about['environment']['device']}. {LOOKS}"
    )
    return RunCollection(timed, variants, note)


def _beside_librarian() -> RunCollection:
    about = {name: recording(name).about for name in BESIDE_LIBRARIAN}
    sizes = ", ".join(f"{label} {about[name]['parameters'] / 1e6:.2f}" for name, label in BESIDE_LIBRARIAN.items())
    window = about["librarian"]["windows"]["length"]
    note = (
        f"Millions of parameters: {sizes}. One run each, the same windows of {window:,} bytes in the same order, the "
        f"learning rate Megalodon's. Other work shared a machine with some, so seconds are not shown. {LOOKS}"
    )
    logs = {label: read_log(recording(name).folder / "log.csv") for name, label in BESIDE_LIBRARIAN.items()}
    return RunCollection(logs, {label: label for label in logs}, note, timed=False)


def _ablations() -> RunCollection:
    folder, about = recording("ablations")
    note = (
        "“full” is Megalodon; each other variant differs from it in one part. Runs of a seed read the same windows in "
        "the same order. Some trained side by side, so their seconds compare nothing and are not shown. "
        f"{LOOKS}"
    )
    logs, variants = _found(folder, {name: name for name in VARIANTS}, about["seeds"])
    return RunCollection(logs, variants, note, timed=False)


def _rates() -> RunCollection:
    folder, about = recording("comparison")
    tried = {
        f"sweep-{model}-{rate}": f"{model.capitalize()} {rate}"
        for model in MODELS
        for rate in about["sweep"]["bits_per_byte"][model]
    }
    chosen = " and ".join(f"{rate:g} for {model.capitalize()}" for model, rate in about["sweep"]["chosen"].items())
    note = (
        f"Runs of one seed, {about['sweep']['budget']['steps']} steps each. The rates with the best score at the "
        f"end were taken for the comparison: {chosen}. Some trained side by side, so seconds are not shown."
    )
    logs = {label: read_log(folder / f"{name}.csv") for name, label in tried.items()}
    return RunCollection(logs, {label: label for label in logs}, note, timed=False)


def _found(
    folder: Path, variants: Mapping[str, str], seeds: Iterable[int]
) -> tuple[dict[str, list[LogRow]], dict[str, str]]:
    """The logs NAME-SEED.csv that are there, and the variant of each, by the label "VARIANT, seed SEED"."""
    logs, members = {}, {}
    for name, variant in variants.items():
        for seed in seeds:
            path = folder / f"{name}-{seed}.csv"
            if path.is_file():
                label = f"{variant}, seed {seed}"
                logs[label], members[label] = read_log(path), variant
    return logs, members
