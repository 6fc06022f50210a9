"""How to train a preset: sizes of a batch, steps and learning rate, found on the validation split."""

from dataclasses import dataclass

from megalodon_edu.arguments import require_choice
from megalodon_edu.training.options import TrainingOptions


@dataclass(frozen=True)
class Recipe:
    """Windows of `length` bytes, `batch` of them a step, and the options of the run."""

    batch: int
    length: int
    options: TrainingOptions


RECIPES = {
    # Two CPU cores: whatever the machine, the run ends after eight minutes, its learning rate down.
    "tiny": Recipe(8, 512, TrainingOptions(steps=2400, learning_rate=4e-3, max_seconds=480.0)),
    # One GPU.
    "small": Recipe(
        32,
        2048,
        TrainingOptions(steps=2000, learning_rate=2e-3, warmup_steps=100, evaluate_every=250),
    ),
}


def recipe(preset: str) -> Recipe:
    """Return the recipe of a preset.

    Raises ValueError for a preset without one: the paper's sizes need a cluster and a tokenizer.
    """
    require_choice("preset", preset, tuple(RECIPES))
    return RECIPES[preset]
