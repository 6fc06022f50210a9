"""Every kernel compiles for the GPUs that the package asks for, on a machine that has none.

The interpreter accepts more than the compiler: a variable that changes its shape in a loop, for example. And a tile may
be right, but need more shared memory or registers than a GPU has.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(find_spec("triton") is None, reason="the compiler comes with the package triton"),
    pytest.mark.timeout(600),
]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

SHARED = {"8.0": 163 * 1024, "9.0": 227 * 1024}
"""Bytes of shared memory that a program may have (CUDA's programming guide, "Compute Capabilities")."""

TOO_MUCH_SHARED = {("8.0", "ladder.complex_ema.tiles_kernel", "OPERAND=fp32")}
"""A rung of chapter 11 whose float32 tiles fill 176 KiB: it runs from compute capability 9.0 on."""

STACK = [
    ("complex_ema._sums_kernel", "TILE_MODES=32", 1000),
    ("complex_ema._sums_kernel", "WHOLE=True", 64),
    ("complex_ema._sums_kernel", "", 320),
    ("attention._score_gradients_kernel", "", 256),
    ("attention._query_gradients_kernel", "", 256),
    ("attention._log_sum_kernel", "", 192),
    ("", "", 80),
]
"""Bytes of stack that a thread may use: what registers do not hold, and cos and sin in float64 (48). Measured with
Triton 3.6.0 and 3.7.1, with some room; the first line that fits a kernel and its arguments counts."""


def environment(cache: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"TRITON_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What `gpu_compilation.py` reports for each capability."""
    folder = tmp_path_factory.mktemp("compilation")
    running = {}
    for capability in SHARED:
        command = [sys.executable, str(HERE / "gpu_compilation.py"), capability, str(folder / f"{capability}.json")]
        log = open(folder / f"{capability}.txt", "w")  # noqa: SIM115
        given = environment(folder / capability)
        running[capability] = subprocess.Popen(command, cwd=ROOT, env=given, stdout=log, stderr=subprocess.STDOUT), log
    found = {}
    for capability, (process, log) in running.items():
        process.wait()
        log.close()
        table = (folder / f"{capability}.txt").read_text()
        print(f"Compute capability {capability}\n{table}")
        assert process.returncode == 0, table
        found[capability] = json.loads((folder / f"{capability}.json").read_text())
    return found


@pytest.fixture(params=SHARED)
def capability(request):
    return request.param


def test_the_compiler_takes_every_kernel(reports, capability):
    refused = [row for row in reports[capability]["compiled"] if row["error"]]
    assert not refused, "\n\n".join(f"{row['kernel']} {row['arguments']}\n{row['error']}" for row in refused)


def test_every_kernel_is_compiled(reports, capability):
    assert reports[capability]["compiled"]
    assert not reports[capability]["unreached"], "add calls that launch these to gpu_compilation.py"


def test_shared_memory_fits(reports, capability):
    for row in reports[capability]["compiled"]:
        known = {(capability, row["kernel"], word) for word in row["arguments"].split()} & TOO_MUCH_SHARED
        assert row["shared"] <= SHARED[capability] or known, row


def test_registers_hold_nearly_everything(reports, capability):
    for row in reports[capability]["compiled"]:
        fits = (limit for kernel, word, limit in STACK if row["kernel"].endswith(kernel) and word in row["arguments"])
        assert row["stack"] <= next(fits), row


KERNEL = """
import sys
sys.path.insert(0, sys.argv[1])
from gpu_compilation import compile_launches
import torch
import triton
import triton.language as tl

@triton.jit
def kernel(x_ptr, steps):
    exists = tl.arange(0, 16) < 5
    for step in range(steps):
        exists = exists[:, None] & exists[None, :]
    tl.store(x_ptr + tl.arange(0, 16), 1.0, tl.arange(0, 16) < 5)

(row,) = compile_launches((9, 0), lambda: kernel[(1,)](torch.zeros(16), 7))
print(row.kernel, row.error)
"""


def test_a_variable_that_changes_its_shape_in_a_loop_is_refused(tmp_path):
    """What the interpreter takes: the report can say no."""
    (tmp_path / "program.py").write_text(KERNEL)
    command = [sys.executable, str(tmp_path / "program.py"), str(HERE)]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "kernel" in done.stdout and "exists" in done.stdout and "type" in done.stdout, done.stdout
