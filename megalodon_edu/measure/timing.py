"""Time, measured so that two programs can be compared."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from megalodon_edu.arguments import require_positive

Row = dict[str, Any]
"""What was measured at one context, as plain values."""


def seconds(
    function: Callable[[], object], device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return how long one call takes, until the device has finished its work.

    The clock `time.process_time` counts this program's work on a CPU alone, whatever else the machine is doing.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def median_seconds(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    repeats: int = 7,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median time of each function. They take turns, so a machine that slows down slows all of them.

    The first `warmup` rounds, which pay for memory and compilation, do not count.
    """
    require_positive("repeats", repeats)
    require_positive("warmup", warmup, least=0)
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(warmup + repeats):
        for name, function in functions.items():
            spent = seconds(function, device, clock)
            if round_number >= warmup:
                taken[name].append(spent)
    return {name: statistics.median(times) for name, times in taken.items()}
