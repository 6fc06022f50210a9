"""Which program touches which addresses: a Triton kernel run in the interpreter, every access written down.

`trace(kernel, grid, ...)` runs a kernel as `kernel[grid](...)` does, results included, but always on the CPU, one
program after the other, also where a GPU compiles kernels. An access outside the tensors does no harm: it is written
down, reads not-a-number, and stores nothing. Masked lanes of a load without `other` are undefined on a GPU; here they
are not-a-number too, if the tensor holds floats.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter
from triton.runtime.jit import JITFunction

SECTOR = 32
"""Bytes that a GPU's memory hands out at once."""

GAP = 2**20
"""Bytes of nothing between two tensors, so that an address outside still tells which tensor was meant."""

Program = tuple[int, ...]
"""The number of a program on every axis of the grid."""


class Access(NamedTuple):
    """One load, store or atomic of one program. Places count numbers from the beginning of the tensor's storage."""

    program: Program
    kind: str
    tensor: str
    places: np.ndarray
    outside: np.ndarray
    lanes: int
    size: int

    @property
    def bytes(self) -> int:
        """Bytes of all lanes that are not masked."""
        return len(self.places) * self.size

    @property
    def sectors(self) -> int:
        """Different pieces of 32 bytes that hold them."""
        return len(np.unique(self.places * self.size // SECTOR))


class Race(NamedTuple):
    """A place that one program writes and another one writes or reads, without an atomic."""

    tensor: str
    place: int
    programs: tuple[Program, Program]
    kinds: tuple[str, str]


class Trace:
    """Every access of a launch, in the order in which it happened."""

    def __init__(self) -> None:
        self.accesses: list[Access] = []

    def of(self, kind: str | None = None, tensor: str | None = None, program: int | None = None) -> list[Access]:
        """The accesses of this kind ("read", "write", "atomic"), to this tensor, by this program of the first axis."""
        return [
            access
            for access in self.accesses
            if kind in (None, access.kind) and tensor in (None, access.tensor) and program in (None, access.program[0])
        ]

    @property
    def bytes(self) -> int:
        """Bytes that all programs ask for, masked lanes left out."""
        return sum(access.bytes for access in self.accesses)

    @property
    def sectors(self) -> int:
        """Sectors that they touch, counted for every access on its own."""
        return sum(access.sectors for access in self.accesses)

    def places(self, kind: str, tensor: str, program: int | None = None) -> list[int]:
        """The different places, in ascending order."""
        found = [access.places for access in self.of(kind, tensor, program)]
        return np.unique(np.concatenate(found)).tolist() if found else []

    def outside(self) -> list[Access]:
        """The accesses with lanes outside the tensors."""
        return [access for access in self.accesses if len(access.outside)]

    def races(self) -> list[Race]:
        """One entry for each place that programs fight about, the first two programs of each."""
        writers: dict[tuple[str, int], tuple[Program, str]] = {}
        found: dict[tuple[str, int], Race] = {}
        for access in self.of("write") + self.of("atomic") + self.of("read"):
            for place in access.places.tolist():
                key = (access.tensor, place)
                if access.kind == "read" and key not in writers:
                    continue
                first, kind = writers.setdefault(key, (access.program, access.kind))
                if first != access.program and {kind, access.kind} != {"atomic"}:
                    found.setdefault(key, Race(*key, (first, access.program), (kind, access.kind)))
        return list(found.values())

    def __repr__(self) -> str:
        programs = len({access.program for access in self.accesses})
        lines = [f"{programs} program{'s' if programs != 1 else ''}, {self.bytes:,} bytes, {self.sectors:,} sectors"]
        for tensor, kind in dict.fromkeys((access.tensor, access.kind) for access in self.accesses):
            some = self.of(kind, tensor)
            size, sectors = sum(access.bytes for access in some), sum(access.sectors for access in some)
            lines.append(f"  {kind:6} {tensor:10} {size:8,} bytes in {sectors:6,} sectors")
        if outside := sum(len(access.outside) for access in self.accesses):
            lines.append(f"  {outside} lanes outside the tensors")
        return "\n".join(lines)


def trace(
    kernel: Callable[..., Any], grid: tuple[int, ...], *arguments: Any, backwards: bool = False, **keywords: Any
) -> Trace:
    """Run `kernel[grid](*arguments, **keywords)` and return what it touched; the tensors hold its results afterwards.

    The name of a tensor in the trace is that of its argument, without a last "_ptr". With `backwards`, the last program
    runs first. What the kernel raises comes through as it is.
    """
    function = getattr(kernel, "fn", kernel)
    memory, given = prepared_arguments(function, arguments, keywords)
    found = Trace()
    x, y, z = (*grid, 1, 1)[:3]
    programs = list(product(range(x), range(y), range(z)))
    with interpreted(function), np.errstate(all="ignore"):
        run = interpreter.InterpretedFunction(function).rewrite()
        interpreter.interpreter_builder.set_grid_dim(x, y, z)
        for program in reversed(programs) if backwards else programs:
            interpreter.interpreter_builder.set_grid_idx(*program)
            with _watched(found, memory, program[: len(grid)]):
                run(**given)
    memory.restore()
    return found


def prepared_arguments(
    function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple["Memory", dict[str, Any]]:
    """The memory that holds the tensors among the arguments, and all arguments as the interpreter takes them."""
    signature = inspect.signature(function)
    options = {name: value for name, value in keywords.items() if name in signature.parameters}
    bound = inspect.getcallargs(function, *arguments, **options)
    fixed = {name for name, kind in function.__annotations__.items() if kind is tl.constexpr or kind == "tl.constexpr"}
    memory = Memory({name: value for name, value in bound.items() if isinstance(value, Tensor)})
    given = {
        name: value if name in fixed else interpreter._implicit_cvt(memory.pointers.get(name, value))
        for name, value in bound.items()
    }
    return memory, given


class Memory:
    """Copies of the tensors' storages in one stretch of memory, far apart, with a map of what belongs to a tensor."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors.values()}
        starts, end = {}, GAP
        for key, storage in self.storages.items():
            starts[key] = end
            end += -(-storage.nbytes() // SECTOR) * SECTOR + GAP
        self.arena = torch.zeros(end + SECTOR, dtype=torch.uint8)
        base = -self.arena.data_ptr() % SECTOR
        self.base = self.arena.data_ptr() + base
        self.starts = {key: base + start for key, start in starts.items()}
        self.valid = np.zeros(len(self.arena), dtype=bool)
        self.pointers: dict[str, Tensor] = {}
        self.names: list[tuple[int, int, str]] = []
        for name, tensor in tensors.items():
            self._place(name, tensor)

    def _place(self, name: str, tensor: Tensor) -> None:
        key = tensor.untyped_storage().data_ptr()
        start, size = self.starts[key], self.storages[key].nbytes()
        self.arena[start : start + size] = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(
            self.storages[key]
        ).cpu()  # fmt: skip
        whole = self.arena[start : start + size].view(tensor.dtype)
        self.pointers[name] = whole.as_strided(
            tensor.shape, tensor.stride(), whole.storage_offset() + tensor.storage_offset()
        )
        owned = torch.zeros(size // tensor.element_size(), dtype=torch.bool)
        owned.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(True)
        self.valid[start : start + size] |= owned.numpy().repeat(tensor.element_size())
        if start not in [known for known, _, _ in self.names]:
            self.names.append((start, start + size, name.removesuffix("_ptr")))

    def look_up(self, pointers: np.ndarray) -> tuple[np.ndarray, list[tuple[str, int]], np.ndarray]:
        """For addresses: the index of the nearest tensor, the tensors' names and starts, and which lie inside one."""
        at = pointers.astype(np.int64) - self.arena.data_ptr()
        middles = [(end + start) // 2 for (_, end, _), (start, _, _) in zip(self.names, self.names[1:], strict=False)]
        inside = (at >= 0) & (at < len(self.valid))
        inside[inside] = self.valid[at[inside]]
        return np.searchsorted(np.array(middles), at), [(name, start) for start, _, name in self.names], inside

    def restore(self) -> None:
        """Copy what the kernel wrote into the tensors."""
        for key, storage in self.storages.items():
            piece = self.arena[self.starts[key] : self.starts[key] + storage.nbytes()]
            device = next(t.device for t in self.tensors.values() if t.untyped_storage().data_ptr() == key)
            torch.empty(0, dtype=torch.uint8, device=device).set_(storage).copy_(piece)


@contextmanager
def _watched(found: Trace, memory: Memory, program: Program) -> Iterator[None]:
    """Write down what the interpreter loads and stores for this program, and keep it inside the tensors."""
    builder = interpreter.interpreter_builder

    def guard(kind: str, pointers: Any, mask: Any) -> tuple[Any, np.ndarray]:
        """Note the access; returns the mask without lanes that lie outside, and those lanes."""
        live = np.broadcast_to(mask.data, pointers.data.shape)
        which, tensors, inside = memory.look_up(pointers.data)
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        for index in np.unique(which[live]).tolist():
            name, start = tensors[index]
            chosen = live & (which == index)
            at = (pointers.data.astype(np.int64) - memory.arena.data_ptr() - start) // size
            lanes = (at[chosen], at[chosen & ~inside])
            found.accesses.append(Access(program, kind, name, *lanes, live.size, size))
        return interpreter.TensorHandle(live & inside, mask.dtype), live & ~inside

    def load(pointers: Any, mask: Any, other: Any, *rest: Any) -> Any:
        allowed, wrong = guard("read", pointers, mask)
        result = type(builder).create_masked_load(builder, pointers, allowed, other, *rest)
        if other is None:
            wrong = ~allowed.data
        if wrong.any() and result.data.dtype.kind == "f":
            result.data = np.where(wrong, np.nan, result.data).astype(result.data.dtype)
        return result

    def store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        allowed, _ = guard("write", pointers, mask)
        return type(builder).create_masked_store(builder, pointers, value, allowed, *rest)

    def atomic(operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        allowed, _ = guard("atomic", pointers, mask)
        return type(builder).create_atomic_rmw(builder, operation, pointers, value, allowed, *rest)

    hooks = {"create_masked_load": load, "create_masked_store": store, "create_atomic_rmw": atomic}
    for name, hook in hooks.items():
        setattr(builder, name, hook)
    try:
        yield
    finally:
        for name in hooks:
            delattr(builder, name)


@contextmanager
def interpreted(function: Callable[..., Any]) -> Iterator[None]:
    """Triton's language as the interpreter needs it, for a while: where kernels are compiled, it is put back after."""
    changed: list[Any] = [tl, tl.core, tl.math, tl.standard, tl.tensor, tl.dtype, tl.core.tensor_descriptor_base]
    before = [(owner, dict(vars(owner))) for owner in changed]
    globals_before = dict(function.__globals__)
    patch_tensor = interpreter._patch_lang_tensor

    def patched_tensor(tensor: Any, *scope: Any) -> None:
        patch_tensor(tensor, *scope)
        tensor.__index__ = lambda self: int(self.handle.data.squeeze())  # NumPy 2.4 refuses more dimensions than 0

    interpreter._patch_lang_tensor = patched_tensor
    for names in (vars(tl), vars(tl.core), vars(tl.math), vars(tl.standard), function.__globals__):
        for name, value in list(names.items()):
            if isinstance(value, JITFunction):
                names[name] = interpreter.InterpretedFunction(value.fn)
    try:
        interpreter._patch_lang(function)
        yield
    finally:
        interpreter._patch_lang_tensor = patch_tensor
        for owner, known in before:
            if isinstance(owner, type):  # what the interpreter adds to a module, its own names, is still needed there
                for name in set(vars(owner)) - set(known):
                    delattr(owner, name)
            for name, value in known.items():
                if vars(owner).get(name) is not value:
                    setattr(owner, name, value)
        function.__globals__.update(globals_before)
