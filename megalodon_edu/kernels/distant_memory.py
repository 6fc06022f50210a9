"""A Triton kernel in the interpreter whose memory is somewhere else: every load, store and atomic is a question.

Who answers knows what was touched, because each number is handed out and taken in there. Grading asks so: the kernel
runs in the student's process, its memory lies with the grader.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from triton.runtime import interpreter

from megalodon_edu.kernels.tracing import interpreted, prepared_arguments


class Question(NamedTuple):
    """One access of one program: what ("load", "store", "atomic"), places in bytes from the memory's beginning, the
    lanes that are not masked, bytes of one number, and for a store or an atomic the numbers and the operation.
    """

    what: str
    places: Tensor
    live: Tensor
    size: int
    value: Tensor | None
    operation: str


Answer = Callable[[Question], Any]
"""For a load the bytes of every lane, (..., size), and which lanes lie in a tensor; for an atomic the old numbers."""


def program_runner(
    kernel: Any, grid: Sequence[int], arguments: Sequence[Any], keywords: Mapping[str, Any], answer: Answer
) -> Callable[[Sequence[int]], None]:
    """A function that runs the program of this number on a grid of three axes.

    The tensors among the arguments lend their shapes and places; their numbers are never looked at. What the kernel
    raises comes through as it is.
    """
    function = kernel.fn
    memory, given = prepared_arguments(function, arguments, keywords)
    hooks = _hooks(memory.base, answer)

    def run(program: Sequence[int]) -> None:
        builder = interpreter.interpreter_builder
        with interpreted(function), np.errstate(all="ignore"):
            rewritten = interpreter.InterpretedFunction(function).rewrite()
            builder.set_grid_dim(*grid)
            builder.set_grid_idx(*program)
            for name, hook in hooks.items():
                setattr(builder, name, hook)
            try:
                rewritten(**given)
            finally:
                for name in hooks:
                    delattr(builder, name)

    return run


def _hooks(base: int, answer: Answer) -> dict[str, Callable[..., Any]]:
    def ask(what: str, pointers: Any, mask: Any, data: Any = None, operation: str = "") -> Any:
        places = pointers.data.astype(np.int64) - base
        live = np.array(np.broadcast_to(mask.data, places.shape)).astype(bool)
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        value = None if data is None else torch.from_numpy(np.array(np.broadcast_to(data.data, places.shape)))
        return answer(Question(what, torch.from_numpy(places), torch.from_numpy(live), size, value, operation))

    def load(pointers: Any, mask: Any, other: Any, *rest: Any) -> Any:
        element = pointers.get_element_ty()
        kind = interpreter._get_np_dtype(element)
        raw, inside = (part.numpy() for part in ask("load", pointers, mask))
        found = raw.view(kind).reshape(pointers.data.shape)
        if other is not None:
            live = np.broadcast_to(mask.data, found.shape).astype(bool)
            found = np.where(live, found, other.data).astype(kind)
            inside = inside | ~live
        if found.dtype.kind == "f":  # undefined on a GPU, as in `tracing`
            found = np.where(inside, found, np.nan).astype(kind)
        return interpreter.TensorHandle(found, element)

    def store(pointers: Any, value: Any, mask: Any, *rest: Any) -> None:
        ask("store", pointers, mask, value)

    def atomic(operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        before = ask("atomic", pointers, mask, value, operation.name)
        return interpreter.TensorHandle(before.numpy().astype(value.data.dtype), value.dtype.scalar)

    return {"create_masked_load": load, "create_masked_store": store, "create_atomic_rmw": atomic}
