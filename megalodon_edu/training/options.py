"""What a training run may choose. Everything here is stored in every checkpoint."""

from dataclasses import dataclass

from megalodon_edu.arguments import require_between, require_choice, require_positive

PRECISIONS = ("auto", "float32", "bfloat16")
COMPILE = ("auto", "on", "off")


@dataclass(frozen=True)
class TrainingOptions:
    """The choices of one run; the text and its windows are chosen apart (see `windows.RandomWindows`).

    The optimiser's numbers are those of the 7B run of Megalodon (arXiv:2404.08801): AdamW with betas (0.9, 0.95),
    eps 1e-8, weight decay 0.1, gradients clipped at norm 1. A small model takes a larger learning rate.
    `max_seconds` also ends the run: then the learning rate falls with whatever runs out first, steps or time.
    """

    steps: int = 1000
    learning_rate: float = 3e-3
    final_fraction: float = 0.05
    warmup_steps: int = 50
    weight_decay: float = 0.1
    decay_all: bool = False
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8
    clip: float = 1.0
    accumulate: int = 1
    precision: str = "auto"
    compile: str = "auto"
    max_seconds: float | None = None
    evaluate_every: int = 200
    checkpoint_steps: int = 500
    checkpoint_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Raise ValueError or TypeError for a choice that cannot work."""
        for name in ("steps", "accumulate", "evaluate_every", "checkpoint_steps"):
            require_positive(name, getattr(self, name))
        require_positive("warmup_steps", self.warmup_steps, least=0)
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be above 0 and finite, got {self.learning_rate}; try 3e-3")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}; 0 switches it off")
        for name in ("epsilon", "clip", "checkpoint_seconds", "max_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas}")
        require_between("final_fraction", self.final_fraction, 0, 1)
        require_choice("precision", self.precision, PRECISIONS)
        require_choice("compile", self.compile, COMPILE)
        # A list comes from JSON; a tuple compares equal to the default.
        object.__setattr__(self, "betas", tuple(self.betas))
