"""Compile the kernels for a GPU that is not there: `python tests/kernels/gpu_compilation.py 9.0 report.json`.

The launchers run on CPU tensors, and a stand-in for the CUDA driver names the GPU. Where a kernel would be launched,
it is compiled, with the arguments, constants and options of that launch. Nothing runs, so all results are garbage.
Prints a table, and writes what was compiled and which kernels no case reaches. `test_gpu_compilation.py` judges both.
"""

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from megalodon_edu import kernels
from megalodon_edu.kernels import attention, availability, first_kernels
from megalodon_edu.kernels.ladder import complex_ema as cema_ladder
from megalodon_edu.kernels.ladder import timestep_norm as norm_ladder
from megalodon_edu.kernels.ladder.products import WAYS, products
from megalodon_edu.ops.attention import AttentionCache
from megalodon_edu.ops.timestep_norm import TimestepNormState

NARROW, WIDE = torch.bfloat16, torch.float32

# Cases: calls of the launchers. Shapes of a model of 1024 channels, short in time, and shapes that divide nothing.


def infer(face: Callable, *arguments: object) -> None:
    """Call the launcher."""
    face(*arguments)


def differentiate(face: Callable, *arguments: object) -> None:
    """Call the launcher, then its backward pass for all numbers that it got."""

    def differentiable(a: object) -> bool:
        return isinstance(a, Tensor) and (a.is_floating_point() or a.is_complex())

    outputs = face(*(a.detach().requires_grad_() if differentiable(a) else a for a in arguments))
    outputs = [y for y in ([outputs] if isinstance(outputs, Tensor) else outputs) if isinstance(y, Tensor)]
    torch.autograd.backward(outputs, [torch.zeros_like(y) for y in outputs])


def complex_ema(dtype: torch.dtype, batch: int, time: int, channels: int, modes: int, phase: bool, state: bool) -> None:
    numbers = torch.full((3, channels, modes), 0.5, dtype=torch.float64).unbind()
    eta = torch.zeros(channels, modes, dtype=torch.complex128)
    incoming = torch.zeros(batch, channels, modes, dtype=torch.complex64) if state else None
    x = torch.zeros(batch, time, channels, dtype=dtype)
    differentiate(kernels.complex_ema_triton, x, *numbers, eta, torch.zeros(channels), incoming, phase)


def coefficients(channels: int, modes: int) -> None:
    numbers = torch.zeros(channels, modes, 1), torch.zeros(channels, modes, 1), torch.zeros(channels, 1, 1)
    differentiate(kernels.complex_ema_coefficients_triton, *numbers, torch.zeros(channels, modes, 2))


def timestep_norm(dtype: torch.dtype, time: int, channels: int, groups: int, padded: bool, train: bool) -> None:
    x = torch.zeros(2, time, channels, dtype=dtype)
    count, mean, var = torch.zeros(2, dtype=torch.int64), torch.zeros(2, groups), torch.ones(2, groups)
    mask = torch.arange(time).expand(2, time) < 3 if padded else None

    def face(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return kernels.timestep_norm_triton(x, weight, bias, groups, TimestepNormState(count, mean, var), mask)[0]

    call = differentiate if train else infer
    call(face, x, torch.zeros(channels), torch.zeros(channels))


def layer_norm(dtype: torch.dtype, width: int, gains: bool) -> None:
    given = [torch.zeros(width) for _ in range(2)] if gains else [None, None]
    differentiate(kernels.layer_norm_triton, torch.zeros(2, 9, width, dtype=dtype), *given)
    differentiate(kernels.rms_norm_triton, torch.zeros(2, 9, width, dtype=dtype), given[0])


def head(dtype: torch.dtype, words: int, train: bool) -> None:
    x, weight = torch.zeros(2, 5, 16, dtype=dtype), torch.zeros(words, 16, dtype=dtype)
    call = differentiate if train else infer
    call(kernels.linear_cross_entropy_triton, x, weight, torch.zeros(2, 5, dtype=torch.int64))


def attend(dtype: torch.dtype, time: int, heads: int, key: int, value: int, chunk: int, held: int = 0) -> None:
    def tokens(length: int, width: int) -> Tensor:
        return torch.zeros(1, length, heads, width, dtype=dtype)

    def face(q: Tensor, k: Tensor, v: Tensor, gate: Tensor | None = None) -> Tensor:
        cache = AttentionCache(tokens(held, key), tokens(held, value)) if held else None
        return kernels.chunked_attention_triton(q, k, v, chunk, cache, gate=gate)[0]

    given = tokens(time, key), tokens(time, key), tokens(time, value)
    differentiate(face, *given)
    differentiate(face, *given, tokens(time, value))


def decode(dtype: torch.dtype, heads: int, key_heads: int, key: int, value: int, channels: int, groups: int) -> None:
    buffers = [torch.zeros(2, key_heads, 200, width, dtype=dtype) for width in (key, value)]
    place = torch.zeros(1, dtype=torch.int64)
    kernels.decode_attention_triton(torch.zeros(2, heads, key, dtype=dtype), *buffers, place, 0.5)
    statistics = (torch.ones(2, dtype=torch.int64), torch.zeros(2, groups), torch.ones(2, groups))
    modes = channels // 64 or 3
    parts = [torch.zeros(channels, modes) for _ in range(5)]
    averages = (torch.zeros(2, channels, modes), torch.zeros(2, channels, modes))
    x, weight, bias, skip = torch.zeros(2, channels, dtype=dtype), *torch.zeros(3, channels)
    kernels.memory_step_triton(x, weight, bias, statistics, (*parts, skip), averages)


def chapter_10() -> None:
    x = torch.zeros(3, 1000)
    first_kernels.vector_add(x[0], x[1])
    first_kernels.softmax_rows(x[:, :777])
    first_kernels.prefix_sum(x)
    first_kernels.ema_scan(torch.zeros(2, 50, 5), 0.5)
    first_kernels.ema_in_chunks(torch.zeros(2, 50, 5), 0.5)
    for precision in first_kernels.PRECISIONS:
        first_kernels.ema_in_chunks(torch.zeros(2, 50, 128), 0.5, precision=precision)


def chapter_11() -> None:
    real = torch.full((32, 16), 0.5, dtype=torch.float64)
    ready = cema_ladder.prepare(real, real, real, real + 0j, torch.zeros(32))
    for dtype in (NARROW, WIDE):
        x = torch.zeros(1, 2 * ready.steps, 32, dtype=dtype)
        cema_ladder.naive(x, ready)
        cema_ladder.rows(x, ready)
        cema_ladder.chunks(x, ready, tensor_cores=False)
        cema_ladder.chunks(x, ready, tensor_cores=True)
        cema_ladder.tiles(x, ready)
        for face in (norm_ladder.walk, norm_ladder.two_passes):
            face(torch.zeros(2, 100, 1024, dtype=dtype), torch.zeros(1024), torch.zeros(1024), 32)
    for way in WAYS:
        products(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), way)


def call_all(capability: tuple[int, int]) -> None:
    """Every launcher, so that every branch of every kernel is compiled in both types, though not every pair of them.

    9.0 gets more of the pairs, and what is rare.
    """
    complex_ema(NARROW, 1, 2048, 1024, 16, phase=False, state=False)
    attend(NARROW, 4096, 1, 256, 2048, chunk=2048)
    attend(WIDE, 60, 3, 33, 70, chunk=100, held=9)
    if capability >= (9, 0):
        complex_ema(WIDE, 1, 2048, 1024, 16, phase=False, state=False)
        complex_ema(NARROW, 2, 16 * 24 + 5, 19, 3, phase=True, state=True)
        complex_ema(WIDE, 3, 40, 5, 17, phase=False, state=True)
        attend(NARROW, 5, 3, 33, 70, chunk=100, held=9)
    else:
        complex_ema(WIDE, 2, 16 * 24 + 5, 19, 3, phase=True, state=True)
    head(NARROW, 32_000, train=True)
    head(WIDE, 32_000, train=True)
    timestep_norm(NARROW, 256, 1024, 32, padded=False, train=True)
    timestep_norm(WIDE, 77, 30, 3, padded=True, train=True)
    timestep_norm(WIDE, 77, 1024, 32, padded=False, train=False)
    layer_norm(NARROW, 1024, gains=True)
    layer_norm(WIDE, 999, gains=False)
    head(WIDE, 257, train=False)
    decode(NARROW, 1, 1, 256, 2048, 1024, 32)
    decode(WIDE, 4, 2, 33, 65, 30, 3)
    coefficients(1024, 16)
    coefficients(5, 3)
    chapter_10()
    chapter_11()


# Compilation.


class Compiled(NamedTuple):
    """A kernel for one set of arguments. Stack and shared memory in bytes, the stack for every thread."""

    kernel: str
    arguments: str
    warps: int = 0
    registers: int = 0
    stack: int = 0
    shared: int = 0
    error: str = ""


class Driver:
    """All that Triton asks a driver for when it compiles."""

    def __init__(self, capability: tuple[int, int]):
        self.target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_launches(capability: tuple[int, int], cases: Callable[[], None]) -> list[Compiled]:
    """Everything that the cases launch, compiled once. Afterwards this process can launch nothing."""
    triton.runtime.driver.set_active(Driver(capability))
    availability._why_not = lambda device: None
    torch.cuda.get_device_capability = lambda device=None: capability
    tiles_of = attention._tiles_of
    attention._tiles_of = lambda device, narrow_type: tiles_of(torch.device("cuda"), narrow_type)
    launched = {}
    run = JITFunction.run

    def compile_instead(self: JITFunction, *arguments: object, **options: object) -> None:
        future = run(self, *arguments, **{**options, "warmup": True})
        launched[future] = self, arguments, options

    JITFunction.run = compile_instead
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        with triton.AsyncCompileMode(pool, ignore_errors=True):
            cases()
        return list(pool.map(lambda item: measure(item[0].future, *item[1]), launched.items()))


def name_of(kernel: JITFunction) -> str:
    return f"{kernel.fn.__module__.removeprefix(kernels.__name__ + '.')}.{kernel.fn.__name__}"


def measure(future: Future, kernel: JITFunction, arguments: tuple, options: dict) -> Compiled:
    """What the compiler made of one launch, or why it refused."""
    fixed = [f"{name}={value}" for name, value in options.items() if name.isupper()]
    words = " ".join([*dict.fromkeys(str(a.dtype)[6:] for a in arguments if isinstance(a, Tensor)), *fixed])
    if error := future.exception():
        causes = []
        while error:
            causes.append(str(error))
            error = error.__cause__
        return Compiled(name_of(kernel), words, error="\n".join(causes))
    compiled = future.result()
    path = next(path for path in compiled.metadata_group.values() if str(path).endswith(".cubin"))
    command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
    used = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    registers, stack = (int(re.search(rf"{word}:(\d+)", used)[1]) for word in ("REG", "STACK"))
    return Compiled(name_of(kernel), words, compiled.metadata.num_warps, registers, stack, compiled.metadata.shared)


def unreached(launched: set[str]) -> list[str]:
    """The package's functions in Triton that no launched kernel is or calls."""
    functions = {}
    for module in pkgutil.walk_packages(kernels.__path__, kernels.__name__ + "."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, JITFunction) and value.fn.__module__ == module.name:
                functions[name_of(value)] = value
    reached, waiting = set(), [functions[name] for name in launched]
    while waiting:
        function = waiting.pop()
        reached.add(name_of(function))
        called = [function.fn.__globals__.get(name) for name in function.fn.__code__.co_names]
        waiting += [f for f in called if isinstance(f, JITFunction) and name_of(f) in functions.keys() - reached]
    return sorted(functions.keys() - reached)


def main(capability: str, report: str) -> None:
    major, minor = map(int, capability.split("."))
    compiled = compile_launches((major, minor), lambda: call_all((major, minor)))
    print("warps  registers  stack   shared  kernel")
    for row in compiled:
        numbers = f"{row.warps:5}  {row.registers:9}  {row.stack:5}  {row.shared:7}"
        print(f"{'refused':>31}" if row.error else numbers, f" {row.kernel}  {row.arguments}")
    missing = unreached({row.kernel for row in compiled})
    Path(report).write_text(json.dumps({"compiled": [row._asdict() for row in compiled], "unreached": missing}))


if __name__ == "__main__":
    main(*sys.argv[1:])
