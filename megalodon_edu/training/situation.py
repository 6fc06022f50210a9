"""Which training run suits the machine: a description of its GPU decides on model, batch, arithmetic and face.

Three runs, of one kind: a GPU that runs the Triton kernels, a GPU that does not, and no GPU. The description can be
made up, so that what another machine would do can be looked at, and tested, here.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from megalodon_edu.arguments import require_choice
from megalodon_edu.data import documents
from megalodon_edu.kernels.availability import LEAST_CAPABILITY, why_not
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.windows import RandomWindows, concatenate

KERNELS, PLAIN, CPU = SITUATIONS = ("kernels", "plain", "cpu")
"""A GPU with the Triton kernels; a GPU without them, such as an older one; no GPU."""

ROOMY = 60e9
"""Bytes of GPU memory from which on the run with kernels takes its batch in one part; below in four, one by one."""


class Card(NamedTuple):
    """What decides about a GPU: name, CUDA compute capability, bytes of memory."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int


@dataclass(frozen=True)
class Situation:
    """A run that suits a machine, and one sentence that says why.

    device: "cuda" or "cpu".  backend: which face the model runs.  band: the recording of several seeds of this very
    run.  stand_in: a recorded run of another size, for where that recording is missing.
    """

    name: str
    sentence: str
    device: str
    config: MegalodonConfig
    batch: int
    length: int
    options: TrainingOptions
    backend: str
    band: str
    stand_in: str

    def model(self, seed: int = 0) -> Megalodon:
        """A new model on the CPU, its parameters drawn from the seed."""
        torch.manual_seed(seed)
        return Megalodon(self.config, backend=self.backend)

    def windows(self, seed: int = 0) -> RandomWindows:
        """Windows of the library's training texts."""
        return RandomWindows(concatenate(documents("train")), self.batch, self.length, seed, "library")


_TINY = MegalodonConfig.preset("tiny")
_RUNS: dict[str, dict[str, Any]] = {
    KERNELS: {
        "device": "cuda",
        "config": MegalodonConfig.preset("small"),
        "batch": 32,
        "length": 2048,
        "options": TrainingOptions(
            steps=1000, learning_rate=2e-3, warmup_steps=100, max_seconds=420.0, evaluate_every=100
        ),
        "backend": "auto",
        "band": "small_band",
        "stand_in": "bookworm",
    },
    PLAIN: {
        "device": "cuda",
        "config": _TINY,
        "batch": 32,
        "length": 512,
        "options": TrainingOptions(
            steps=1000, learning_rate=4e-3, precision="float32", compile="off", max_seconds=420.0, evaluate_every=100
        ),
        "backend": "torch",
        "band": "plain_gpu_band",
        "stand_in": "tiny_cpu",
    },
    CPU: {
        "device": "cpu",
        "config": replace(_TINY, model_dim=64, z_dim=32, value_dim=128, ffn_hidden_dim=128, chunk_size=64),
        "batch": 8,
        "length": 128,
        "options": TrainingOptions(
            steps=80, learning_rate=1e-2, warmup_steps=10, precision="float32", compile="off", checkpoint_seconds=600.0
        ),
        "backend": "torch",
        "band": "cpu_band",
        "stand_in": "tiny_cpu",
    },
}


def find_card() -> Card | None:
    """The GPU that PyTorch would use, or None."""
    if not torch.cuda.is_available():
        return None
    about = torch.cuda.get_device_properties(torch.cuda.current_device())
    return Card(about.name, (about.major, about.minor), about.total_memory)


def choose_situation(card: Card | None, obstacle: str | None = None) -> Situation:
    """The run for a GPU of this description, or for none.

    obstacle: why no Triton kernel runs on it although the card could; see `situation_here`.
    """
    if card is None:
        return _situation(CPU, "No GPU: a tiny model for some seconds on the CPU; what a GPU did is shown as recorded.")
    least, found = (".".join(map(str, numbers)) for numbers in (LEAST_CAPABILITY, card.capability))
    if card.capability < LEAST_CAPABILITY:
        reason = f"compute capability {found} is below {least}"
    elif obstacle is not None:
        reason = obstacle
    else:
        sentence = f"{card.name}, compute capability {found}: preset small, on Triton kernels, in bfloat16, compiled."
        chosen = _situation(KERNELS, sentence)
        if card.memory_bytes >= ROOMY:
            return chosen
        parts = f" Its {card.memory_bytes / 1e9:.0f} GB take every batch in four parts."
        return replace(chosen, sentence=sentence + parts, options=replace(chosen.options, accumulate=4))
    return _situation(PLAIN, f"{card.name}: preset tiny, in plain PyTorch and float32, because {reason}.")


def situation_here() -> Situation:
    """The run for this machine."""
    card = find_card()
    return choose_situation(card, None if card is None else why_not("cuda"))


def situation(name: str) -> Situation:
    """One of `SITUATIONS`, wherever this is called. Raises ValueError for another name."""
    require_choice("name", name, SITUATIONS)
    return _situation(name, f"The run for the situation {name}.")


def _situation(name: str, sentence: str) -> Situation:
    return Situation(name=name, sentence=sentence, **_RUNS[name])
