"""What a reader can move: synced traits that know their ends and refuse anything outside them."""

import math
from collections.abc import Sequence
from typing import Any

import traitlets

from megalodon_edu.arguments import require_between, require_choice


class Range(traitlets.TraitType):
    """A number between two ends, both included. With `whole`, a whole number."""

    def __init__(self, default: float, low: float, high: float, whole: bool = False) -> None:
        super().__init__(default)
        self.low, self.high, self.whole = low, high, whole
        self.tag(sync=True)

    @property
    def ends(self) -> list[float]:
        """The two ends."""
        return [self.low, self.high]

    def validate(self, obj: Any, value: Any) -> float:
        """The value as a float (or int), or ValueError."""
        return _number(self.name or "value", value, self)


class RangeList(Range):
    """A fixed number of numbers, each between two ends."""

    def __init__(self, default: Sequence[float], low: float, high: float) -> None:
        super().__init__(0.0, low, high)
        self.default_value = list(default)
        self.size = len(default)

    @property
    def ends(self) -> list[list[float]]:  # type: ignore[override]
        """All numbers at the lower end, all at the upper."""
        return [[self.low] * self.size, [self.high] * self.size]

    def make_dynamic_default(self) -> list[float]:
        """A fresh list for every explorer."""
        return list(self.default_value)

    def validate(self, obj: Any, value: Any) -> list[float]:  # type: ignore[override]
        """The numbers as a list of floats, or ValueError."""
        name = self.name or "value"
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != self.size:
            raise ValueError(f"{name} must be a list of {self.size} numbers, got {value!r}")
        return [_number(f"{name}[{index}]", item, self) for index, item in enumerate(value)]


class Choice(traitlets.TraitType):
    """One of a few words or numbers."""

    def __init__(self, default: Any, choices: Sequence[Any]) -> None:
        super().__init__(default)
        self.ends = list(choices)
        self.tag(sync=True)

    def validate(self, obj: Any, value: Any) -> Any:
        """The value, or ValueError."""
        if isinstance(value, str) and isinstance(self.ends[0], str):
            require_choice(self.name or "value", value, self.ends)
        elif value not in self.ends:
            raise ValueError(f"{self.name} must be one of {', '.join(map(str, self.ends))}, got {value!r}")
        return value


class Switch(Choice):
    """On or off."""

    def __init__(self, default: bool) -> None:
        super().__init__(default, [False, True])

    def validate(self, obj: Any, value: Any) -> bool:
        """The value, or ValueError."""
        if not isinstance(value, bool):
            raise ValueError(f"{self.name} must be True or False, got {value!r}")
        return value


class Subset(Choice):
    """Some of a few words, at least one. Its ends: the first word alone, and all of them."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(list(words), [list(words[:1]), list(words)])
        self.words = list(words)

    def make_dynamic_default(self) -> list[str]:
        """All words, in a fresh list for every explorer."""
        return list(self.words)

    def validate(self, obj: Any, value: Any) -> list[str]:
        """The words in their own order, or ValueError."""
        name, words = self.name or "value", ", ".join(self.words)
        if isinstance(value, str) or not isinstance(value, Sequence) or not value:
            raise ValueError(f"{name} must be a list of at least one of {words}, got {value!r}")
        for word in value:
            require_choice(name, word, self.words)
        return [word for word in self.words if word in value]


Control = Range | Choice


def _number(name: str, value: Any, allowed: Range) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number between {allowed.low} and {allowed.high}, got {value!r}")
    require_between(name, value, allowed.low, allowed.high)  # refuses NaN too
    if not allowed.whole:
        return float(value)
    if value != math.floor(value):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(value)
