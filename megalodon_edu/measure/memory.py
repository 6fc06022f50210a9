"""Bytes of tensors: how many a program adds at its peak, and how many stay when it is done.

Counted, not read from the operating system: every operation is watched, and each new storage counts from the moment
it appears until nothing refers to it any more. So the numbers are the same at every run, and small programs can be
measured. What a kernel takes and gives back inside a single operation is not seen.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Memory(NamedTuple):
    """Bytes above what was there before: at the peak, and at the end while the result is still held."""

    peak: int
    kept: int


def memory_of(function: Callable[[], object]) -> Memory:
    """Call the function once and count the bytes of the tensors that it makes."""
    count = _Count()
    with _Watch(count):
        result = function()
        kept = count.now
    del result
    return Memory(count.peak, kept)


class _Count:
    """Bytes alive now and the most there ever were; a storage is counted once, however many tensors view it."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self.seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self.seen:
            return
        self.seen.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.remove, storage.nbytes()).atexit = False

    def remove(self, size: int) -> None:
        self.now -= size


class _Watch(TorchDispatchMode):
    """Sees every operation below autograd, so that of the backward pass too."""

    def __init__(self, count: _Count) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in given:
                self.count.add(leaf)
        return result


def saved_bytes(function: Callable[[], object], but: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd saves during one call, for a backward pass to come; the tensors in `but` do not count.

    A storage counts once, however often it is saved. Pass `model.parameters()` as `but`: weights are there anyway.
    """
    ignored = {tensor.untyped_storage().data_ptr() for tensor in but}
    saved: dict[int, Tensor] = {}

    def save(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in ignored:
            saved[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        result = function()
    size = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    del result
    return size
