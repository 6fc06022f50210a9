"""The kernels in Triton's CPU interpreter, each file of tests in a process of its own."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from megalodon_edu.kernels.availability import why_not

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UNUSED = ["-p", "no:nbval", "-p", "no:hypothesispytest"]
"""Plugins that take seconds to import."""
FILES = sorted(path.name for path in HERE.glob("test_*_kernel.py"))


@pytest.mark.skipif(find_spec("triton") is None, reason="the interpreter comes with the package triton")
@pytest.mark.skipif(bool(os.environ.get("TRITON_INTERPRET")), reason="this process is the interpreter already")
@pytest.mark.parametrize("name", FILES)
def test_kernels_in_the_interpreter(name):
    command = [sys.executable, "-m", "pytest", "-m", "not gpu", "-p", "no:cacheprovider", *UNUSED, str(HERE / name)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    if " passed" not in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[-1])


def test_a_process_without_triton_is_told_how_to_get_it():
    program = """
import sys
sys.modules["triton"] = None
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "triton" else find_spec(name, *rest)
import megalodon_edu.kernels
from megalodon_edu.kernels.availability import why_not
print(why_not("cpu"))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "pip install 'megalodon-edu[kernels]'" in done.stdout


@pytest.mark.skipif(find_spec("triton") is None, reason="asks for a CPU where Triton is installed")
@pytest.mark.parametrize(("asked", "word"), [("", "set TRITON_INTERPRET=1"), ("1", "None")])
def test_a_cpu_needs_the_interpreter(asked, word):
    program = "from megalodon_edu.kernels.availability import why_not; print(why_not('cpu'))"
    environment = {**os.environ, "TRITON_INTERPRET": asked}
    if not asked:
        del environment["TRITON_INTERPRET"]
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert word in done.stdout or "interpreter works from" in done.stdout


@pytest.mark.skipif(find_spec("triton") is None, reason="asks for a GPU where Triton is installed")
@pytest.mark.skipif(bool(os.environ.get("TRITON_INTERPRET")), reason="the interpreter takes every device")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_machine_without_a_gpu_is_told_so():
    assert "need a CUDA GPU, and PyTorch finds none" in why_not("cuda")
