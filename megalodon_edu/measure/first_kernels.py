"""The five kernels of chapter 10 on a GPU: time, bytes, and the share of a copy's bandwidth.

`python -m megalodon_edu.measure.first_kernels FOLDER` records them as FOLDER/run.json.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.ops.ema import ema_chunked, ema_convolution

SEED = 0
ALPHA = 0.1
LENGTH = 2**26
ROWS = (2**13, 2**13)
SEQUENCES = {"8 sequences": (8, 4096, 1024), "128 sequences": (128, 256, 1024)}
CHUNKS = (16, 32, 64)
PRECISION_SHAPE = (2, 512, 256)


class Speed(NamedTuple):
    """One kernel at one shape: programs launched, bytes that must move, and milliseconds of it and of PyTorch's own."""

    kernel: str
    shape: tuple[int, ...]
    programs: int
    bytes: int
    milliseconds: float
    torch_milliseconds: float | None

    @property
    def gigabytes_per_second(self) -> float:
        """The bytes that must move, over the time."""
        return self.bytes / self.milliseconds / 1e6


class Measurement(NamedTuple):
    """A run on one device: its copy, every kernel, and the errors of the chunked EMA by precision of its products."""

    device: str
    copy: Speed
    speeds: list[Speed]
    errors: dict[str, float]

    def share(self, speed: Speed) -> float:
        """The share of the copy's bandwidth."""
        return speed.gigabytes_per_second / self.copy.gigabytes_per_second


def first_kernels(device: torch.device, repeats: int = 15, scale: int = 1) -> Measurement:
    """Measure every kernel in float32 on a CUDA device. `scale` divides the sizes, for a quick look.

    A time is the median of `repeats` batches of calls by CUDA events, after a warm-up. Raises RuntimeError where no
    kernel runs, and ValueError for another device.
    """
    if device.type != "cuda":
        raise ValueError(f"device must be a CUDA GPU, got {device}; the interpreter's times mean nothing")
    require_kernels(device)
    from megalodon_edu.kernels import first_kernels as kernels

    draw = torch.Generator(device).manual_seed(SEED)
    milliseconds = partial(_milliseconds, repeats)
    size = 4

    x, y = (torch.randn(LENGTH // scale, generator=draw, device=device) for _ in range(2))
    target, whole = torch.empty_like(x), tuple(x.shape)
    copy = Speed("copy", whole, 0, 2 * x.numel() * size, milliseconds(target.copy_, x), None)
    add = milliseconds(kernels.vector_add, x, y), milliseconds(torch.add, x, y)
    speeds = [Speed("vector add", whole, -(-len(x) // 1024), 3 * x.numel() * size, *add)]
    del x, y, target

    rows = torch.randn(ROWS[0] // scale, ROWS[1], generator=draw, device=device)
    for name, ours, theirs in (
        ("softmax", kernels.softmax_rows, torch.softmax),
        ("prefix sum", kernels.prefix_sum, torch.cumsum),
    ):
        times = milliseconds(ours, rows), milliseconds(theirs, rows, 1)
        speeds.append(Speed(name, tuple(rows.shape), len(rows), 2 * rows.numel() * size, *times))
    del rows

    for where, (batch, length, channels) in SEQUENCES.items():
        x = torch.randn(batch, length, channels // scale, generator=draw, device=device)
        alpha = torch.full((x.shape[2],), ALPHA, device=device)
        moved = 2 * x.numel() * size + 2 * batch * x.shape[2] * size
        programs = batch * -(-x.shape[2] // 64)
        peer = min(milliseconds(face, x, alpha, calls=1) for face in (ema_convolution, ema_chunked))
        forms: dict[str, Callable[..., object]] = {"EMA step by step": kernels.ema_scan}
        forms |= {f"EMA in chunks of {chunk}": partial(kernels.ema_in_chunks, chunk=chunk) for chunk in CHUNKS}
        for name, form in forms.items():
            spent = milliseconds(form, x, ALPHA)
            speeds.append(Speed(f"{name}, {where}", tuple(x.shape), programs, moved, spent, peer))
    return Measurement(torch.cuda.get_device_name(device), copy, speeds, precision_errors(device))


def precision_errors(device: torch.device) -> dict[str, float]:
    """Relative errors of the chunked EMA in float32 against float64, by how its products are taken."""
    require_kernels(device)
    from megalodon_edu.kernels import first_kernels as kernels

    draw = torch.Generator().manual_seed(SEED)
    x = torch.randn(*PRECISION_SHAPE, generator=draw)
    truth, _ = ema_chunked(x.double(), torch.full((x.shape[2],), ALPHA, dtype=torch.float64))
    found = {}
    for precision in kernels.PRECISIONS:
        y, _ = kernels.ema_in_chunks(x.to(device), ALPHA, precision=precision)
        found[precision] = ((y.cpu().double() - truth).norm() / truth.norm()).item()
    return found


def _milliseconds(repeats: int, function: Callable[..., object], *arguments: object, calls: int = 10) -> float:
    """Milliseconds of one call: events around `calls` of them, so that the host's launches hide behind the work."""
    for _ in range(3):
        function(*arguments)
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            function(*arguments)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / calls)
    return statistics.median(times)


def to_json(found: Measurement) -> dict[str, Any]:
    """The measurement as plain values, times with four significant digits."""

    def plain(speed: Speed) -> dict[str, Any]:
        times = (speed.milliseconds, speed.torch_milliseconds)
        ours, theirs = (None if spent is None else float(f"{spent:.4g}") for spent in times)
        return speed._asdict() | {"milliseconds": ours, "torch_milliseconds": theirs}

    errors = {name: float(f"{error:.3g}") for name, error in found.errors.items()}
    speeds = [plain(speed) for speed in found.speeds]
    return {"device": found.device, "copy": plain(found.copy), "speeds": speeds, "errors": errors}


def from_json(about: Mapping[str, Any]) -> Measurement:
    """The inverse of `to_json`; other entries of a run.json are passed over."""

    def speed(plain: Mapping[str, Any]) -> Speed:
        return Speed(**{**plain, "shape": tuple(plain["shape"])})

    speeds = [speed(plain) for plain in about["speeds"]]
    return Measurement(about["device"], speed(about["copy"]), speeds, dict(about["errors"]))


def record(folder: Path) -> None:
    """Measure on this machine's GPU, and write run.json."""
    device = torch.device("cuda")
    start = time.perf_counter()
    found = first_kernels(device)
    about = {
        "command": f"python -m {__spec__.name} {folder.name}",
        "environment": environment(device),
        "seed": SEED,
        "wall_seconds": round(time.perf_counter() - start, 1),
        "config": {"dtype": "float32", "alpha": ALPHA},
        **to_json(found),
    }
    save_json(folder / "run.json", about)
    for speed in [found.copy, *found.speeds]:
        share = f"{speed.milliseconds:8.3f} ms  {speed.gigabytes_per_second:7.0f} GB/s  {found.share(speed):5.0%}"
        print(f"{speed.kernel:36} {share}  PyTorch {speed.torch_milliseconds} ms", flush=True)
    print(found.errors)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record the first Triton kernels on a GPU.")
    parser.add_argument("folder", type=Path, help="where run.json goes")
    record(parser.parse_args().folder)
