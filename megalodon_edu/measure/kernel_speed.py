"""The Triton kernels beside the torch faces, eager and compiled, and beside the floor of the device."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from megalodon_edu.measure.device_floor import Rates, Work, floor
from megalodon_edu.measure.device_timing import Timing, median_on_device, peak_bytes, release
from megalodon_edu.measure.failed import why_it_failed
from megalodon_edu.measure.operator_cases import FORWARD, Case, Face, Shapes, least_bytes, operator_cases
from megalodon_edu.measure.timing import Row

FACES = ("triton", "torch", "compiled")


def kernel_speed(
    shapes: Shapes,
    device: torch.device,
    dtype: torch.dtype,
    rates: Rates,
    faces: tuple[str, ...] = FACES,
    repeats: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Yield, for each operator and shape, seconds, how they were taken and bytes at the peak, by face.

    The faces follow one another, so that one's memory is free for the next. A face that fails is left out of the
    numbers, and `notes` says why. `over_floor` is the kernel's time in floors, `ratio` the better peer's time over the
    kernel's: above 1, the kernel is faster. Both are None without a kernel, the ratio also without a peer.
    """
    for case in operator_cases(shapes, device, dtype):
        for what in case.flops:
            yield _row(case, what, device, dtype, rates, faces, repeats, clock)


def _row(
    case: Case,
    what: str,
    device: torch.device,
    dtype: torch.dtype,
    rates: Rates,
    faces: tuple[str, ...],
    repeats: int,
    clock: Callable[[], float],
) -> Row:
    inputs = case.inputs()
    torch.manual_seed(0)
    gradient = torch.randn(case.output, device=device).to(dtype if case.output else torch.float32)
    work = Work(least_bytes(inputs, gradient.numel() * gradient.itemsize, what), case.flops[what])
    least = floor(work, rates)
    found: dict[str, float] = {}
    how: dict[str, str] = {}
    peak: dict[str, int | None] = {}
    notes: dict[str, str] = {}
    for name in faces:
        try:
            timing, peak[name] = _measured(case, name, inputs, gradient, what, repeats, clock)
            found[name], how[name] = timing
        except Exception as error:
            notes[name] = why_it_failed(error, compiling=name == "compiled")
        release(device)
    peers = [found[name] for name in found if name != "triton"]
    kernel = found.get("triton")
    return {
        "work": case.work,
        "shape": case.shape,
        "what": what,
        "seconds": found,
        "how": how,
        "peak_bytes": peak,
        "floor": {"seconds": least.seconds, "bound": least.bound, **work._asdict()},
        "over_floor": kernel / least.seconds if kernel else None,
        "ratio": min(peers) / kernel if kernel and peers else None,
        "notes": notes,
    }


def _measured(
    case: Case,
    name: str,
    inputs: list[Tensor],
    gradient: Tensor,
    what: str,
    repeats: int,
    clock: Callable[[], float],
) -> tuple[Timing, int | None]:
    call = _call(_face(case, name), inputs, gradient, what)
    call()  # what is made at the first call only does not count as its memory
    countable = gradient.is_cuda or name != "compiled"  # on a CPU tensors are counted, and compiled code hides its own
    peak = peak_bytes(call, gradient.device) if countable else None
    return median_on_device(call, gradient.device, repeats, clock=clock), peak


def _face(case: Case, name: str) -> Face:
    if name == "triton":
        return case.kernel()
    return torch.compile(case.torch_face, dynamic=False) if name == "compiled" else case.torch_face


def _call(face: Face, inputs: list[Tensor], gradient: Tensor, what: str) -> Callable[[], object]:
    if what == FORWARD:

        @torch.no_grad()
        def forward() -> object:
            return face(*inputs)

        return forward

    leaves = [t.detach().requires_grad_() if t.is_floating_point() or t.is_complex() else t for t in inputs]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]

    def forward_and_backward() -> object:
        return torch.autograd.grad(face(*leaves), wanted, gradient)

    return forward_and_backward
