"""The machine and the versions behind a number: without them it says little."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from megalodon_edu import __version__


def environment(device: torch.device) -> dict[str, Any]:
    """Return device, threads, versions (None: not installed), and the commit where the package runs from a checkout."""
    about: dict[str, Any] = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "megalodon-edu": __version__,
        "triton": _version("triton"),
        "commit": commit(),
    }
    if device.type == "cuda":
        about |= {"cuda": torch.version.cuda, "memory_bytes": torch.cuda.get_device_properties(device).total_memory}
    return about


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the package's commit, with "+" if files differ from it; None outside a git checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
