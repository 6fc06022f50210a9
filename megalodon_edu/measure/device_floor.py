"""The least time that an operator can take on a device: the roofline's two sides, measured here and now.

    floor = max(bytes / bandwidth, flops / rate)

Bytes: every input read once and every output written once. Bandwidth: that of a large copy, counting what is read and
what is written. Flops: in matrix products, two for each multiplication with an addition. Rate: that of a large one.
Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009).
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.device_timing import median_on_device


class Rates(NamedTuple):
    """What a device reaches: bytes a second in a copy, floating-point operations a second in a matrix product."""

    bytes_per_second: float
    flops_per_second: float


class Work(NamedTuple):
    """What an operator must move and compute at least."""

    bytes: int
    flops: int


class Floor(NamedTuple):
    """The least time, and which side of the roofline it is: "bytes" or "flops"."""

    seconds: float
    bound: str


def floor(work: Work, rates: Rates) -> Floor:
    """The larger of the two times."""
    moving, computing = work.bytes / rates.bytes_per_second, work.flops / rates.flops_per_second
    return Floor(moving, "bytes") if moving >= computing else Floor(computing, "flops")


def measure_rates(
    device: torch.device,
    dtype: torch.dtype,
    copied_bytes: int | None = None,
    width: int | None = None,
    repeats: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Rates:
    """Copy `copied_bytes` and multiply two square matrices of `width` numbers of `dtype`, random ones.

    Without sizes: 1 GiB and 8192 on a GPU, 64 MiB and 1024 on a CPU. The copy is the faster of PyTorch's own and of an
    operation that reads every number and writes one.
    """
    large = device.type == "cuda"
    copied_bytes = (2**30 if large else 2**26) if copied_bytes is None else copied_bytes
    width = (8192 if large else 1024) if width is None else width
    require_positive("copied_bytes", copied_bytes)
    require_positive("width", width)
    source = torch.empty(copied_bytes // 4, dtype=torch.int32, device=device).random_()
    target = torch.empty_like(source)
    # A copy may be done by another engine than the one that computes, and be slower: an operation on numbers, too.
    ways = (lambda: target.copy_(source), lambda: torch.bitwise_not(source, out=target))
    copy = min(median_on_device(way, device, repeats, clock=clock).seconds for way in ways)
    del source, target
    left, right = torch.randn(2, width, width, device=device, dtype=dtype)
    product = median_on_device(lambda: left @ right, device, repeats, clock=clock).seconds
    return Rates(2 * copied_bytes / copy, 2 * width**3 / product)
