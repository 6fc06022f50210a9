"""Where the time of a training step goes: products, attention, CEMA, norms, loss, the update, and the rest.

    python -m megalodon_edu.measure.step_profile --out FOLDER/run.json

records it on a GPU for the run of chapter 12: on PyTorch alone, on the Triton kernels, and compiled and replayed as a
CUDA graph, as the training loop runs it.

Uncompiled, every part of the model is named while it runs, and what PyTorch's profiler sees below a name belongs to it.
A step of the backward pass belongs to the part whose forward step it undoes: the two have one sequence number. On a CPU
the time of an operation counts without those that it calls, on a GPU the time of its kernels. A replayed graph has no
names: there a kernel's own name decides, and what the compiler merged is in the rest.
"""

import argparse
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.device_timing import release
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.measure.timing import median_seconds
from megalodon_edu.models import Megalodon
from megalodon_edu.models.compilation import compile_loss
from megalodon_edu.nn import ComplexEMA, NormalizedAttention
from megalodon_edu.nn.norms import LayerNorm, RMSNorm, TimestepDecayNorm, TimestepNorm
from megalodon_edu.recordings import recording
from megalodon_edu.training.gradient import RecordedGradient, accumulate_gradient
from megalodon_edu.training.optimizer import build_optimizer
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.precision import choose_precision
from megalodon_edu.training.situation import CPU, KERNELS, Situation, situation

PRODUCTS, ATTENTION, CEMA, NORMS, LOSS, UPDATE, REST = GROUPS = (
    "products", "attention", "CEMA", "norms", "loss", "update", "rest",
)  # fmt: skip
"""products: the matrices of the layers. attention: queries, keys, gate and looks. loss: head and cross-entropy. update:
clipping and AdamW. rest: embedding, activations, dropout, residuals, what is done between the parts.
"""

TORCH, TRITON, COMPILED = WAYS = ("PyTorch", "Triton", "Triton, compiled")
"""How a step is run on a GPU; the last is what `training.loop.train` does there."""

SCOPE = "part of the step: "
BACKWARD = "autograd::engine::evaluate_function: "
NAME = "step_profile"
"""Of the recording."""

MOST_KERNELS = 60
"""Of a recording: the names and times of so many kernels are kept, the longest."""

MODULES = {nn.Linear: PRODUCTS, ComplexEMA: CEMA} | dict.fromkeys(
    (TimestepNorm, TimestepDecayNorm, RMSNorm, LayerNorm), NORMS
)
FILES = {
    "attention": ATTENTION, "complex_ema": CEMA, "complex_ema_coefficients": CEMA, "cross_entropy": LOSS,
    "layer_norm": NORMS, "timestep_norm": NORMS,
}  # fmt: skip
LIBRARIES = (
    (PRODUCTS, re.compile("gemm|nvjet|cutlass|cublas|splitk|xmma", re.IGNORECASE)),
    (UPDATE, re.compile("multi_tensor|adam|lpnorm", re.IGNORECASE)),
)


class StepProfile(NamedTuple):
    """Milliseconds of one step: of every group, and by the clock, without the profiler; the bytes of text it reads.

    kernels: on a GPU, the milliseconds of every kernel by its name.
    """

    way: str
    groups: dict[str, float]
    milliseconds: float
    tokens: int
    kernels: dict[str, float]

    @property
    def tokens_per_second(self) -> float:
        """Bytes of text read in a second, by the clock."""
        return 1e3 * self.tokens / self.milliseconds


Step = Callable[[], object]


def step_profile(
    model: Megalodon, batch: Tensor, way: str, precision: str = "auto", steps: int = 3, repeats: int = 5
) -> StepProfile:
    """Profile training steps of the model on this batch (batch, length + 1), after two that do not count.

    way: a name; `COMPILED` compiles and records the step, and needs a GPU with Triton. The parameters change.
    Raises ValueError for fewer than one step or repeat.
    """
    require_positive("steps", steps)
    require_positive("repeats", repeats)
    device = batch.device
    step = _step(model, batch, choose_precision(precision, device)[0], way == COMPILED)
    named = (lambda: ExitStack()) if way == COMPILED else (lambda: _names(model))
    seconds = median_seconds({way: step}, device, repeats, warmup=2)[way]
    with named(), _quiet(), profile(activities=_activities(device), acc_events=True) as seen:
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = list(seen.events())
    kernels = _kernels(events, steps)
    by_part = _by_name(kernels) if way == COMPILED else _by_part(events, steps, sum(kernels.values()))
    groups = {group: by_part.get(group, 0.0) for group in GROUPS}
    return StepProfile(way, groups, 1e3 * seconds, batch[:, 1:].numel(), kernels)


def _step(model: Megalodon, batch: Tensor, dtype: torch.dtype, compiled: bool) -> Step:
    optimizer = build_optimizer(model, TrainingOptions())
    recorded = RecordedGradient(model, 1, dtype, compile_loss(model.loss)) if compiled else None

    def step() -> None:
        if recorded is None:
            accumulate_gradient(model, batch, 1, dtype)
        else:
            recorded(batch)
        with record_function(SCOPE + UPDATE):
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return step


@contextmanager
def _names(model: Megalodon) -> Iterator[None]:
    """Name the parts of the model while they run."""
    open_scopes: list[Any] = []

    def enter(group: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            open_scopes.append(record_function(SCOPE + group))
            open_scopes[-1].__enter__()

        return hook

    def leave(*_: Any) -> None:
        open_scopes.pop().__exit__(None, None, None)

    with ExitStack() as undo:
        for module in model.modules():
            group = next((group for kind, group in MODULES.items() if isinstance(module, kind)), None)
            if group is not None:
                undo.callback(module.register_forward_pre_hook(enter(group)).remove)
                undo.callback(module.register_forward_hook(leave).remove)
            if isinstance(module, NormalizedAttention):
                undo.enter_context(_named_method(module, "attended", ATTENTION))
        undo.enter_context(_named_method(model, "hidden", REST))
        undo.enter_context(_named_method(model, "loss", LOSS))
        yield


@contextmanager
def _named_method(module: Any, name: str, group: str) -> Iterator[None]:
    """Name what a method of this one object does; the class keeps its own."""
    method = getattr(module, name)

    @wraps(method)
    def named(*arguments: Any, **keywords: Any) -> Any:
        with record_function(SCOPE + group):
            return method(*arguments, **keywords)

    setattr(module, name, named)
    try:
        yield
    finally:
        delattr(module, name)


def _by_part(events: Sequence[Any], steps: int, all_kernels: float) -> dict[str, float]:
    """Milliseconds of every group by the names around each operation; kernels that belong to none are in the rest."""
    on_host = sorted(
        (event for event in events if event.device_type.name == "CPU"), key=lambda event: event.time_range.start
    )
    of_sequence: dict[int, str] = {}
    for event in on_host:  # the last operation of a number is the one that made the node
        scope = _around(event, SCOPE)
        if event.sequence_nr >= 0 and scope is not None and _around(event, BACKWARD) is None:
            of_sequence[event.sequence_nr] = scope.name.removeprefix(SCOPE)
    found: dict[str, float] = defaultdict(float)
    for event in on_host:
        scope, undone = _around(event, SCOPE), _around(event, BACKWARD)
        group = REST
        if scope is not None:
            group = scope.name.removeprefix(SCOPE)
        elif undone is not None:
            group = of_sequence.get(undone.sequence_nr, REST)
        if all_kernels:
            found[group] += sum(kernel.duration for kernel in event.kernels) / 1e3 / steps
        else:
            found[group] += event.self_cpu_time_total / 1e3 / steps
    if all_kernels:
        found[REST] += max(0.0, all_kernels - sum(found.values()))
    return dict(found)


def _around(event: Any, prefix: str) -> Any:
    """The event itself or the nearest around it whose name begins so, or None."""
    while event is not None and not event.name.startswith(prefix):
        event = event.cpu_parent
    return event


def _kernels(events: Iterable[Any], steps: int) -> dict[str, float]:
    """Milliseconds of a step by the name of the kernel, the longest first; empty without a GPU."""
    found: dict[str, float] = defaultdict(float)
    for event in events:
        annotation = getattr(event, "is_user_annotation", False) or event.name.startswith((SCOPE, "Optimizer."))
        if event.device_type.name == "CUDA" and not annotation:
            found[event.name] += event.time_range.elapsed_us() / 1e3 / steps
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _by_name(kernels: dict[str, float]) -> dict[str, float]:
    """Milliseconds of every group where only the kernels' names are known."""
    found: dict[str, float] = defaultdict(float)
    for name, milliseconds in kernels.items():
        found[group_of_kernel(name)] += milliseconds
    return dict(found)


def group_of_kernel(name: str) -> str:
    """The group of a kernel of ours or of a library by its name; what the compiler merged is in the rest."""
    own = _own_kernels().get(re.sub(r"_\d+$", "", name))
    if own is not None:
        return own
    if name.startswith("triton_"):
        return REST
    return next((group for group, pattern in LIBRARIES if pattern.search(name)), REST)


@cache
def _own_kernels() -> dict[str, str]:
    """The package's kernels by their names; where Triton is missing there are none."""
    if find_spec("triton") is None:
        return {}
    found = {}
    for file, group in FILES.items():
        module = import_module(f"megalodon_edu.kernels.{file}")
        for name, value in vars(module).items():
            if getattr(getattr(value, "fn", None), "__module__", None) == module.__name__:
                found[name] = group
    return found


def _activities(device: torch.device) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the profiler's library from writing that it starts and stops."""
    before = os.environ.get("KINETO_LOG_LEVEL")
    os.environ["KINETO_LOG_LEVEL"] = "99"
    try:
        yield
    finally:
        if before is None:
            del os.environ["KINETO_LOG_LEVEL"]
        else:
            os.environ["KINETO_LOG_LEVEL"] = before


def profiles(
    chosen: Situation, device: torch.device, ways: Sequence[str], steps: int = 3, repeats: int = 5
) -> Iterator[StepProfile]:
    """Yield the profile of a situation's step for every way, each with a new model and the same batch.

    Where the run takes a batch in parts (`accumulate`), the step is that of one part.
    """
    batch = chosen.windows()(0)[: chosen.batch // chosen.options.accumulate].to(device)
    for way in ways:
        model = replace(chosen, backend="torch" if way == TORCH else "triton").model().to(device)
        yield step_profile(model, batch, way, chosen.options.precision, steps, repeats)
        del model
        release(device)


def recorded() -> list[StepProfile]:
    """The profiles of the recording `step_profile`. Raises ValueError where it is missing."""
    return [StepProfile(**row) for row in recording(NAME).about["profiles"]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Record the profiles of a GPU's step."""
    parser = argparse.ArgumentParser(description="Record where the time of a training step goes on a GPU.")
    parser.add_argument("--out", type=Path, required=True, help="the file run.json to write")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="how the step is run [all]")
    parser.add_argument("--steps", type=int, default=3, help="steps that are profiled [3]")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"), help="[cuda]")
    args = parser.parse_args(arguments)
    begin = time.perf_counter()
    chosen = situation(KERNELS if args.device.type == "cuda" else CPU)
    found = []
    for one in profiles(chosen, args.device, args.ways, args.steps):
        print(f"{one.way}: {one.milliseconds:.1f} ms a step, {one.tokens_per_second:,.0f} tokens a second", end="; ")
        print(", ".join(f"{group} {milliseconds:.1f}" for group, milliseconds in one.groups.items()), flush=True)
        found.append(one)
    save_json(args.out, {
        "command": f"python -m megalodon_edu.measure.step_profile --out {NAME}/run.json",
        "environment": environment(args.device),
        "seed": 0,
        "config": chosen.config.to_dict(),
        "batch": chosen.batch,
        "length": chosen.length,
        "wall_seconds": round(time.perf_counter() - begin, 1),
        "profiles": [_rounded(one) for one in found],
    })  # fmt: skip
    print(f"saved {args.out}")


def _rounded(one: StepProfile) -> dict[str, Any]:
    kernels = dict(list(one.kernels.items())[:MOST_KERNELS])
    rounded = {name: {key: round(value, 4) for key, value in part.items()} for name, part in (
        ("groups", one.groups), ("kernels", kernels),
    )}  # fmt: skip
    return {**one._asdict(), **rounded, "milliseconds": round(one.milliseconds, 4)}


if __name__ == "__main__":
    main()
