"""The numbers that a check tries: the same at every call in a notebook, drawn afresh while a teacher grades.

Whoever copies the right outputs of a notebook's check into an answer finds that the grader asks for others.
"""

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

Case = TypeVar("Case")
_seed: ContextVar[int | None] = ContextVar("seed of the fresh numbers", default=None)


@contextmanager
def fresh(seed: int) -> Iterator[None]:
    """Inside this block every check draws numbers of its own; the same seed gives the same numbers again."""
    token = _seed.set(seed)
    try:
        yield
    finally:
        _seed.reset(token)


def generator(seed: int) -> torch.Generator:
    """The generator of one random tensor of a check; `seed` tells the tensors of one check apart."""
    base = _seed.get()
    return torch.Generator().manual_seed(seed if base is None else 1_000_003 * (base + 1) + seed)


def varied(values: Tensor, share: float = 0.1) -> Tensor:
    """The values as they are; in a `fresh` block each times a number near 1, which differs by at most `share`."""
    if _seed.get() is None:
        return values
    draw = generator(zlib.crc32(values.numpy().tobytes()))
    return values * (1 + share * (2 * torch.rand(values.shape, generator=draw, dtype=values.dtype) - 1))


def varied_number(value: float, share: float = 0.1) -> float:
    """`varied` for one number."""
    return varied(torch.tensor(value, dtype=torch.float64), share).item()


def cases(known: Sequence[Case], draw: Callable[[random.Random], Case], more: int = 3) -> list[Case]:
    """The known cases of a check; in a `fresh` block others after them, each made by draw(random numbers)."""
    seed = _seed.get()
    if seed is None:
        return list(known)
    numbers = random.Random(seed)
    return [*known, *(draw(numbers) for _ in range(more))]
