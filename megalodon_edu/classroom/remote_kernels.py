"""The grader's side of a student's kernel: it holds the memory, hands out numbers, takes numbers in, and notes both."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from megalodon_edu.classroom.remote import Session, raise_stopped
from megalodon_edu.exercises.framework import Diagnosis
from megalodon_edu.kernels.tracing import Access, Memory, Program, Trace

MOST_LANES = 2**16
"""Addresses of one load or store: more than any check needs."""

ATOMICS: dict[str, Callable[[Any, Any], Any]] = {
    "ADD": np.add, "FADD": np.add, "MAX": np.maximum, "UMAX": np.maximum, "MIN": np.minimum, "UMIN": np.minimum,
    "AND": np.bitwise_and, "OR": np.bitwise_or, "XOR": np.bitwise_xor, "XCHG": lambda old, new: new,
}  # fmt: skip


def trace(
    session: Session, grid: tuple[int, ...], tensors: dict[str, Tensor], numbers: Sequence[Any], sizes: dict[str, Any]
) -> Trace:
    """Run every program of the grid; the tensors hold the results afterwards. Raises Diagnosis where one stops."""
    session.calls += 1
    memory, found = Memory(tensors), Trace()
    described = [
        (t.dtype, t.untyped_storage().nbytes() // t.element_size(), tuple(t.shape), t.stride())
        for t in tensors.values()
    ]
    message = {
        "do": "kernel",
        "grid": [*grid, 1, 1][:3],
        "tensors_": described,
        "numbers_": list(numbers),
        "sizes_": sizes,
    }
    reply = session.do(message)
    for program in product(*map(range, grid)):
        if reply["did"] == "stopped":
            _raise(reply["error"])
        with _Served(session, memory, found, program):
            reply = session.do({"do": "program", "program": [*program, 0, 0][:3]})
    if reply["did"] == "stopped":
        _raise(reply["error"])
    memory.restore()
    return found


def _raise(error: dict[str, Any]) -> None:
    if error.get("type") == "TypeError" and error.get("line") is None:
        raise Diagnosis(f"your kernel does not take the stub's arguments ({error['message']}). Keep its first line.")
    raise_stopped(error, "your kernel")


class _Served:
    """While a program runs, its questions are about the memory."""

    def __init__(self, session: Session, memory: Memory, found: Trace, program: Program) -> None:
        self.session, self.memory, self.found, self.program = session, memory, found, program

    def __enter__(self) -> None:
        self.session.asked = self._answer  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self.session.asked

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        at, live, value = question["args_"]
        size, what = question["size"], question["ask"]
        self.session.hand_in(at.numel())
        if at.numel() > MOST_LANES or at.shape != live.shape or size not in (1, 2, 4, 8):
            raise Diagnosis(f"your kernel touches more than {MOST_LANES:,} addresses at once.")
        place = at.numpy().astype(np.int64) + self.memory.base
        inside = self._note({"load": "read", "store": "write"}.get(what, what), place, live.numpy(), size)
        arena = self.memory.arena.numpy()
        bytes_at = (place[inside] - self.memory.arena.data_ptr())[:, None] + np.arange(size)
        if what == "load":
            raw = np.zeros((*place.shape, size), dtype=np.uint8)
            raw[inside] = arena[bytes_at]
            return {"value_": (torch.from_numpy(raw), torch.from_numpy(inside))}
        given = value.contiguous().numpy()
        if given.itemsize != size or given.shape != place.shape:
            raise Diagnosis("your kernel stores numbers of another size than the tensor's.")
        if what == "store":
            arena[bytes_at] = given[inside].reshape(-1, 1).view(np.uint8).reshape(-1, size)
            return {"value_": None}
        before = np.zeros_like(given)
        change = ATOMICS[question["operation"]]
        for lane, address in zip(np.argwhere(inside), bytes_at, strict=True):
            one = tuple(lane)
            before[one] = arena[address].view(given.dtype)[0]
            arena[address] = np.array([change(before[one], given[one])], dtype=given.dtype).view(np.uint8)
        return {"value_": torch.from_numpy(before)}

    def _note(self, kind: str, place: np.ndarray, live: np.ndarray, size: int) -> np.ndarray:
        """Write the access down; returns the lanes that touch memory which belongs to a tensor."""
        which, tensors, inside = self.memory.look_up(place)
        for index in np.unique(which[live]).tolist():
            name, start = tensors[index]
            chosen = live & (which == index)
            lanes = (place - self.memory.arena.data_ptr() - start) // size
            self.found.accesses.append(
                Access(self.program, kind, name, lanes[chosen], lanes[chosen & ~inside], live.size, size)
            )
        return live & inside
