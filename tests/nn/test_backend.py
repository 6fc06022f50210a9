"""Which face of an operator runs where. Kernels run here only on a CUDA GPU; see tests/kernels for the interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from megalodon_edu import nn
from megalodon_edu.kernels import availability
from megalodon_edu.nn import backend as choice

NEITHER = bool(find_spec("triton")) and not os.environ.get("TRITON_INTERPRET") and not torch.cuda.is_available()


class OnGPU:
    """What `uses_triton` looks at, of a tensor on a GPU that need not be there."""

    is_cuda = True
    device = torch.device("cuda")

    def __init__(self, dtype=torch.float32):
        self.dtype = dtype


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that kernels run on a CUDA GPU and on nothing else."""
    sentence = "kernels run on GPUs only"
    asked = {"why_not": lambda device: None if torch.device(device).type == "cuda" else sentence}
    for module in (choice, availability):
        monkeypatch.setattr(module, "why_not", asked["why_not"])


def test_auto_takes_kernels_on_a_gpu_that_runs_them(gpu):
    assert choice.uses_triton("auto", OnGPU())
    assert choice.uses_triton("auto", OnGPU(torch.bfloat16))
    assert not choice.uses_triton("auto", OnGPU(torch.float64))
    assert not choice.uses_triton("auto", torch.ones(1))
    assert not choice.uses_triton("torch", OnGPU()) and not choice.uses_triton("reference", OnGPU())


def test_auto_takes_torch_on_an_old_gpu(monkeypatch):
    monkeypatch.setattr(choice, "why_not", lambda device: "this GPU is too old")
    assert not choice.uses_triton("auto", OnGPU())
    assert choice.chosen_face("auto", "cuda") == "Operators by PyTorch alone: this GPU is too old."


def test_the_face_is_told_in_a_sentence(gpu):
    assert choice.chosen_face("auto", "cuda") == choice.chosen_face("triton", "cuda") == "Operators by Triton kernels."
    assert choice.chosen_face("auto", "cpu") == choice.chosen_face("torch", "cuda") == "Operators by PyTorch alone."
    assert "loop" in choice.chosen_face("reference", "cuda")


def test_triton_is_refused_on_a_device_without_kernels(gpu):
    assert choice.choose("triton") == "triton"
    with pytest.raises(RuntimeError, match="kernels run on GPUs only"):
        choice.uses_triton("triton", torch.ones(1))


@pytest.mark.skipif(not NEITHER, reason="kernels run here")
def test_triton_is_refused_at_once_where_no_kernel_can_run():
    with pytest.raises(RuntimeError, match='backend "triton": .* PyTorch finds none; use the torch face'):
        nn.ComplexEMA(4, 2, backend="triton")


def test_triton_needs_its_package():
    program = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "triton" else find_spec(name, *rest)
from megalodon_edu import nn
nn.TimestepNorm(4, 2)
try:
    nn.TimestepNorm(4, 2, backend="triton")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "pip install 'megalodon-edu[kernels]'" in done.stdout, done.stderr


def test_the_choice_breaks_no_graph():
    @torch.compile(fullgraph=True, backend="eager")
    def double(x):
        return x * 3 if choice.uses_triton("auto", x) else x * 2

    assert double(torch.ones(1)).item() == 2
