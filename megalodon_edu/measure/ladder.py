"""The kernel ladder of chapter 11: what every rung moves and computes, by counting, and how long it takes on a GPU.

`python -m megalodon_edu.measure.ladder FOLDER` records it as FOLDER/run.json.

Counted are bytes of whole passes over tensors, as if no cache kept anything between them, and two operations for a
multiplication with an addition. `asked` counts what the programs ask of the memory: it hands out sectors of 32 bytes,
also where a program wants two.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.measure.device_floor import Rates, measure_rates
from megalodon_edu.measure.device_timing import median_on_device
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.ops.complex_ema import complex_ema_convolution, harmonic_angles
from megalodon_edu.ops.timestep_norm import timestep_norm_parallel
from megalodon_edu.recordings import recording

SECTOR = 32
TILE = 16
"""Channels, and columns, of a program that multiplies matrices."""
ROW = 32
"""Channels of a program that reads rows."""
TOKENS = 64
"""Tokens of a tile of Timestep Norm."""

NAIVE, COALESCED, SEGMENTS, CHUNKS, CORES, TILES = CEMA_RUNGS = (
    "naive", "coalesced", "segments", "chunks", "tensor cores", "channel tiles",
)  # fmt: skip
WALK, TWO_PASSES = NORM_RUNGS = ("walk", "two passes")
PACKAGE, BACKWARD = "the package's", "the package's, and backward"


class Case(NamedTuple):
    """One input: its shape, the bytes of a number, and how CEMA's work is cut."""

    batch: int = 8
    length: int = 4096
    channels: int = 1024
    itemsize: int = 2
    modes: int = 16
    chunk: int = 16
    segment: int = 256
    groups: int = 32

    @property
    def values(self) -> int:
        """Numbers in x."""
        return self.batch * self.length * self.channels


class Counted(NamedTuple):
    """What one rung does: bytes moved, bytes asked of the memory, operations, programs at once, and the unit."""

    moved: float
    asked: float
    operations: float
    programs: int
    unit: str

    @property
    def intensity(self) -> float:
        """Operations for each byte moved."""
        return self.operations / self.moved


ORDINARY, TENSOR, TENSOR_FLOAT32 = UNITS = ("ordinary", "tensor", "tensor, float32")


def count(rung: str, case: Case) -> Counted:
    """Count one rung of CEMA or of Timestep Norm, forward. Raises KeyError for an unknown one."""
    return COUNTERS[rung](case)


def least(case: Case, passes: int = 2) -> float:
    """Bytes that must move: `passes` passes over tensors of the size of x, two forward, three backward."""
    return float(passes * case.values * case.itemsize)


def _scattered(case: Case, passes: int) -> float:
    """Every number on its own: a whole sector for each."""
    return float(passes * case.values * max(SECTOR, case.itemsize))


def _state_bytes(case: Case) -> float:
    """The states between segments, written and read twice: what a segment adds, and what it starts from."""
    segments = case.length // case.segment
    return 0.0 if segments == 1 else 4.0 * case.batch * segments * case.channels * case.modes * 8


def _recurrent(case: Case, rung: str) -> Counted:
    """A step of one mode: 5 multiply-adds for the state, 2 for the output; another 5 in a walk for states alone."""
    twice = rung == SEGMENTS
    operations = 2.0 * case.values * (case.modes * (12 if twice else 7) + 1)
    if rung == NAIVE:
        return Counted(least(case), _scattered(case, 2), operations, case.batch * case.channels, ORDINARY)
    moved = least(case, 3) + _state_bytes(case) if twice else least(case)
    programs = case.batch * (case.length // case.segment if twice else 1) * -(-case.channels // ROW)
    return Counted(moved, moved, operations, programs, ORDINARY)


def _chunked(case: Case, rung: str) -> Counted:
    """For one number: T multiply-adds by K, 2N by V, 2N by W twice; and two steps of the states in every chunk."""
    states = _state_bytes(case)
    walks = 2 if states else 1
    products = case.chunk + 2 * case.modes + walks * 2 * case.modes
    operations = 2.0 * case.values * (products + walks * 4 * case.modes / case.chunk)
    moved = least(case, walks + 1) + states
    asked = moved if rung == TILES else _scattered(case, walks + 1) + states
    groups = -(-case.batch * (case.length // case.segment) // TILE)
    programs = groups * (-(-case.channels // TILE) if rung == TILES else case.channels)
    cores = TENSOR if case.itemsize == 2 else TENSOR_FLOAT32
    return Counted(moved, asked, operations, programs, ORDINARY if rung == CHUNKS else cores)


def _norm(case: Case, rung: str) -> Counted:
    """For one number: 1 addition for m, 3 for v, 4 for y."""
    if rung == WALK:
        moved, programs = least(case), case.batch * case.groups
    else:  # m and v written and read, then μ and 1/σ, in float32
        moved = least(case, 3) + 8.0 * case.batch * case.length * case.groups * 4
        programs = case.batch * case.groups * -(-case.length // TOKENS)
    return Counted(moved, moved, 8.0 * case.values, programs, ORDINARY)


COUNTERS: Mapping[str, Callable[[Case], Counted]] = {
    **{rung: partial(_recurrent, rung=rung) for rung in (NAIVE, COALESCED, SEGMENTS)},
    **{rung: partial(_chunked, rung=rung) for rung in (CHUNKS, CORES, TILES)},
    **{rung: partial(_norm, rung=rung) for rung in NORM_RUNGS},
}


class Device(NamedTuple):
    """What bounds a kernel: bytes a second, operations a second of the two units, and the number of multiprocessors."""

    bytes_per_second: float
    ordinary: float
    tensor: float
    multiprocessors: int

    def rate(self, counted: Counted) -> float:
        """Operations a second of the unit that a rung uses.

        A float32 product on tensor cores is three products in TF32, which has half the rate of bfloat16.
        """
        return {ORDINARY: self.ordinary, TENSOR: self.tensor, TENSOR_FLOAT32: self.tensor / 6}[counted.unit]

    def floor(self, counted: Counted) -> float:
        """The least seconds: the larger of the times for the bytes and for the operations."""
        return max(counted.moved / self.bytes_per_second, counted.operations / self.rate(counted))

    def bound(self, counted: Counted) -> str:
        """Which of the two times is the larger: "bytes" or "operations"."""
        moving = counted.moved / self.bytes_per_second
        return "bytes" if moving >= counted.operations / self.rate(counted) else "operations"


class Time(NamedTuple):
    """One measured rung: milliseconds, and the relative error of its values against float64."""

    operator: str
    rung: str
    shape: tuple[int, int, int]
    milliseconds: float
    error: float | None


Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((8, 4096, 1024), (2, 16384, 1024))
SEED = 0
SLICE = 32
"""Channels that are compared with float64: they do not see the others."""

Inputs = tuple[Any, ...]
Rungs = Mapping[str, Callable[[], Tensor]]


class Ladder(NamedTuple):
    """A run on one GPU: its rates, every time, the errors of a product by how it is written, and the model's times."""

    device: Device
    name: str
    times: list[Time]
    product_errors: dict[str, float]
    model: list[dict[str, Any]]


def cema_inputs(shape: Shape, dtype: torch.dtype, device: torch.device, modes: int = 16) -> Inputs:
    """x, alpha, delta, theta, eta and skip, random and the same at every call; coefficients in float64."""
    draw = torch.Generator().manual_seed(SEED)
    channels = shape[2]
    alpha, delta = torch.sigmoid(0.2 * torch.randn(2, channels, modes, generator=draw, dtype=torch.float64))
    theta = harmonic_angles(torch.rand(channels, generator=draw, dtype=torch.float64), modes)
    eta = torch.randn(channels, modes, generator=draw, dtype=torch.complex128) / modes**0.5
    skip = 0.25 * torch.randn(channels, generator=draw, dtype=torch.float64)
    x = torch.randn(shape, generator=torch.Generator(device).manual_seed(SEED), device=device).to(dtype)
    return x, *(value.to(device) for value in (alpha, delta, theta, eta, skip))


def norm_inputs(shape: Shape, dtype: torch.dtype, device: torch.device) -> Inputs:
    """x, weight and bias."""
    draw = torch.Generator(device).manual_seed(SEED)
    x = torch.randn(shape, generator=draw, device=device).to(dtype)
    return x, *(0.1 * torch.randn(2, shape[2], generator=draw, device=device))


def cema_rungs(inputs: Any) -> Rungs:
    """Every rung of CEMA on these inputs, its coefficients ready, as a call without arguments."""
    from megalodon_edu.kernels import complex_ema_triton
    from megalodon_edu.kernels.ladder import complex_ema as ladder

    x, *ready = inputs
    prepare: Callable[..., ladder.Coefficients] = ladder.prepare
    whole = prepare(*ready, steps=x.shape[1])
    cut = prepare(*ready, steps=min(ladder.STEPS, x.shape[1]))
    return {
        NAIVE: lambda: ladder.naive(x, whole),
        COALESCED: lambda: ladder.rows(x, whole),
        SEGMENTS: lambda: ladder.rows(x, cut),
        CHUNKS: lambda: ladder.chunks(x, cut, tensor_cores=False),
        CORES: lambda: ladder.chunks(x, cut, tensor_cores=True),
        TILES: lambda: ladder.tiles(x, cut),
        PACKAGE: lambda: complex_ema_triton(x, *ready)[0],
    }


def norm_rungs(inputs: Any, groups: int) -> Rungs:
    """Every rung of Timestep Norm on these inputs, as a call without arguments."""
    from megalodon_edu.kernels import timestep_norm_triton
    from megalodon_edu.kernels.ladder import timestep_norm as ladder

    x, weight, bias = inputs
    return {
        WALK: lambda: ladder.walk(x, weight, bias, groups),
        TWO_PASSES: lambda: ladder.two_passes(x, weight, bias, groups),
        PACKAGE: lambda: timestep_norm_triton(x, weight, bias, groups)[0],
    }


def ladder(device: torch.device, shapes: tuple[Shape, ...] = SHAPES, repeats: int = 20) -> Ladder:
    """Measure every rung in bfloat16 on a CUDA device, and a training step of the model with and without kernels.

    Raises ValueError for another device, RuntimeError where no kernel runs there.
    """
    if device.type != "cuda":
        raise ValueError(f"device must be a CUDA GPU, got {device}; the interpreter's times mean nothing")
    require_kernels(device)
    times = [
        time for shape in shapes for measure in (_cema, _timestep_norm) for time in measure(shape, device, repeats)
    ]
    return Ladder(rates(device), torch.cuda.get_device_name(device), times, product_errors(device), model_steps(device))


def rates(device: torch.device) -> Device:
    """Measure the device: a copy, and products in float32 (ordinary units) and bfloat16 (tensor cores)."""
    found: list[Rates] = [measure_rates(device, dtype) for dtype in (torch.float32, torch.bfloat16)]
    number = torch.cuda.get_device_properties(device).multi_processor_count
    return Device(found[0].bytes_per_second, found[0].flops_per_second, found[1].flops_per_second, number)


def _cema(shape: Shape, device: torch.device, repeats: int) -> list[Time]:
    from megalodon_edu.kernels import complex_ema_triton

    inputs = cema_inputs(shape, torch.bfloat16, device)
    truth, _ = complex_ema_convolution(*_slice(inputs))
    wanted = [value.requires_grad_() for value in inputs]
    times = _forward("CEMA", shape, cema_rungs([value.detach() for value in inputs]), truth, device, repeats)
    return [*times, _both("CEMA", shape, lambda: complex_ema_triton(*wanted)[0], wanted, device, repeats)]


def _timestep_norm(shape: Shape, device: torch.device, repeats: int) -> list[Time]:
    from megalodon_edu.kernels import timestep_norm_triton

    groups = Case().groups
    inputs = norm_inputs(shape, torch.bfloat16, device)
    x, weight, bias = _slice(inputs)
    truth, _ = timestep_norm_parallel(x, weight, bias, max(1, SLICE * groups // shape[2]))
    wanted = [value.requires_grad_() for value in inputs]
    times = _forward(
        "Timestep Norm", shape, norm_rungs([value.detach() for value in inputs], groups), truth, device, repeats
    )
    return [
        *times,
        _both("Timestep Norm", shape, lambda: timestep_norm_triton(*wanted, groups)[0], wanted, device, repeats),
    ]


def _slice(inputs: Inputs) -> Inputs:
    """One sequence and a few channels, in float64."""
    x, *rest = inputs
    parts = [value[:SLICE] if value.is_complex() else value[:SLICE].double() for value in rest]
    return x[:1, :, :SLICE].double(), *parts


def _forward(
    operator: str, shape: Shape, rungs: Rungs, truth: Tensor, device: torch.device, repeats: int
) -> list[Time]:
    found = []
    for rung, forward in rungs.items():
        y = forward()[:1, :, :SLICE].double()
        error = ((y - truth).norm() / truth.norm()).item()
        found.append(Time(operator, rung, shape, 1e3 * median_on_device(forward, device, repeats).seconds, error))
        print(found[-1], flush=True)
    return found


def _both(
    operator: str,
    shape: Shape,
    forward: Callable[[], Tensor],
    wanted: list[Tensor],
    device: torch.device,
    repeats: int,
) -> Time:
    slope = torch.randn_like(wanted[0])
    spent = median_on_device(lambda: torch.autograd.grad(forward(), wanted, slope), device, repeats)
    found = Time(operator, BACKWARD, shape, 1e3 * spent.seconds, None)
    print(found, flush=True)
    return found


def product_errors(device: torch.device) -> dict[str, float]:
    """Relative errors of products of 16 × 16 matrices in float32 against float64, by how they are written."""
    from megalodon_edu.kernels.ladder.products import WAYS, products

    a, b = torch.randn(2, 256, 16, 16, generator=torch.Generator().manual_seed(SEED))
    truth = a.double() @ b.double()
    errors = {}
    for way in WAYS:
        c = products(a.to(device), b.to(device), way).cpu().double()
        errors[way] = ((c - truth).norm() / truth.norm()).item()
    return errors


def model_steps(device: torch.device, preset: str = "200M", shape: tuple[int, int] = (1, 8192)) -> list[dict[str, Any]]:
    """Forward and backward with loss in bfloat16, the same model with each backend: milliseconds, loss, peak memory."""
    config = MegalodonConfig.preset(preset)
    tokens = torch.randint(
        1, config.vocab_size, (shape[0], shape[1] + 1), generator=torch.Generator().manual_seed(SEED)
    )
    tokens = tokens.to(device)
    found = []
    for backend in ("torch", "triton"):
        torch.manual_seed(SEED)
        model = Megalodon(config, backend=backend).to(device)

        def step(model: Megalodon = model) -> Tensor:
            model.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16):
                loss = model.loss(tokens)
            loss.backward()
            return loss.detach()

        loss = step().item()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        spent = median_on_device(step, device, repeats=5, warmup=2, graph=False)
        peak = torch.cuda.max_memory_allocated(device)
        found.append(
            {"backend": backend, "preset": preset, "shape": list(shape), "milliseconds": 1e3 * spent.seconds,
             "loss": loss, "peak_bytes": peak}
        )  # fmt: skip
        print(found[-1], flush=True)
        del model, step
        torch.cuda.empty_cache()
    return found


def to_json(found: Ladder) -> dict[str, Any]:
    """The measurement as plain values, with four significant digits."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, Mapping):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return value

    times = [plain(time._asdict()) for time in found.times]
    return plain(found._asdict() | {"device": found.device._asdict(), "times": times})


def from_json(about: Mapping[str, Any]) -> Ladder:
    """The inverse of `to_json`; other entries of a run.json are passed over."""
    times = [Time(**{**time, "shape": tuple(time["shape"])}) for time in about["times"]]
    return Ladder(Device(**about["device"]), about["name"], times, about["product_errors"], about["model"])


def recorded() -> Ladder:
    """The recording that comes with the course."""
    return from_json(recording("kernel_ladder").about)


def record(folder: Path) -> None:
    """Measure on this machine's GPU, and write run.json."""
    device = torch.device("cuda")
    start = time.perf_counter()
    found = ladder(device)
    about = {
        "command": f"python -m megalodon_edu.measure.ladder {folder.name}",
        "environment": environment(device),
        "seed": SEED,
        "wall_seconds": round(time.perf_counter() - start, 1),
        "config": {"dtype": "bfloat16", **Case()._asdict()},
        **to_json(found),
    }
    save_json(folder / "run.json", about)
    print(found.device, found.product_errors, f"{about['wall_seconds']} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record the kernel ladder on a GPU.")
    parser.add_argument("folder", type=Path, help="where run.json goes")
    record(parser.parse_args().folder)
