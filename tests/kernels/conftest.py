"""Where the kernels are tested: on a CUDA GPU, or on a CPU in Triton's interpreter, which has a process of its own.

The interpreter must be chosen before Triton is imported, and would change every later test of the process. So
`test_interpreter.py` runs each file `test_*_kernel.py` in a new process; here they are collected only if the process
runs kernels already.
"""

import os
from importlib.util import find_spec

import pytest
import torch

from megalodon_edu.kernels.availability import interpreting, why_not

RUNS_HERE = bool(find_spec("triton")) and (bool(os.environ.get("TRITON_INTERPRET")) or torch.cuda.is_available())
collect_ignore_glob = [] if RUNS_HERE else ["test_*_kernel.py"]


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return the device on which kernels run in this process; skip the test where none does."""
    device = torch.device("cpu" if interpreting() else "cuda")
    if reason := why_not(device):
        pytest.skip(reason)
    return device
