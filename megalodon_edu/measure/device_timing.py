"""The time of one call on a device, by the device's own clock, and the memory that it takes.

On a GPU the host only orders the work. So two CUDA events are put around the call, and the difference of their times
is the device's. A call of many small launches waits for the host between them; recorded once as a CUDA graph and
replayed, it does not. Before every call a large tensor is read, so that the second-level cache holds nothing of use:
neither inputs of the call, nor numbers that have yet to be written to memory, for which the call would have to wait.
"""

import gc
import statistics
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.memory import memory_of
from megalodon_edu.measure.timing import seconds

CLOCK, EVENTS, GRAPH = "clock", "CUDA events", "CUDA graph"


class Timing(NamedTuple):
    """The median of several calls, and how it was taken: "CUDA graph", "CUDA events" or, on a CPU, "clock"."""

    seconds: float
    how: str


def median_on_device(
    function: Callable[[], object],
    device: torch.device,
    repeats: int = 20,
    warmup: int = 3,
    graph: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Return the median time of a call after `warmup` calls that do not count.

    graph=True replays it as a CUDA graph where it can be recorded, that is where it never waits for the device.
    graph=False also leaves the cache as it is. On a CPU only the clock is there.
    """
    require_positive("repeats", repeats)
    require_positive("warmup", warmup)
    for _ in range(warmup):
        function()
    if device.type != "cuda":
        return Timing(statistics.median(seconds(function, device, clock) for _ in range(repeats)), CLOCK)
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
        torch.cuda.synchronize(device)
        recorded = _recorded(function) if graph else None
        flush = _flush(device) if graph else None
        taken = _event_seconds(function if recorded is None else recorded.replay, repeats, flush)
    return Timing(statistics.median(taken), EVENTS if recorded is None else GRAPH)


def peak_bytes(function: Callable[[], object], device: torch.device, whole: bool = False) -> int:
    """Bytes that one call takes at its peak, above what was there before; on a CPU those of its tensors.

    whole=True counts on a GPU what was there before, too.
    """
    if device.type != "cuda":
        return memory_of(function).peak
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = 0 if whole else torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def release(device: torch.device) -> None:
    """Give back the memory of what is no longer referred to, and forget compiled programs."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _recorded(function: Callable[[], object]) -> torch.cuda.CUDAGraph | None:
    """The call as a graph; None where it waits for the device, which no graph can hold."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls this mode a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            function()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None
        finally:
            torch.cuda.set_sync_debug_mode(before)
    torch.cuda.empty_cache()  # a graph keeps memory of its own
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        function()
    return graph


def _flush(device: torch.device) -> torch.Tensor:
    """Something to read that is four times as large as the cache."""
    return torch.zeros(4 * torch.cuda.get_device_properties(device).L2_cache_size, dtype=torch.uint8, device=device)


def _event_seconds(function: Callable[[], object], repeats: int, flush: torch.Tensor | None) -> list[float]:
    pairs = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if flush is not None:
            flush.sum()
        start.record()
        function()
        end.record()
        pairs.append((start, end))
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1e3 for start, end in pairs]
