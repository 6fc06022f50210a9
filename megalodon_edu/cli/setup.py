"""The checkout's own environment: a virtual environment in .venv, the right PyTorch, and a stamp once all is there.

Only the standard library is imported: this runs before anything is installed.
"""

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megalodon_edu.cli import CommandError

ROOT = Path(__file__).resolve().parents[2]
PROBE_SECONDS = 5.0
STAMP = "megalodon-edu.json"


@dataclass(frozen=True)
class TorchChoice:
    """What pip is given to install PyTorch alone (nothing: it comes with the rest), and the sentence that says so."""

    arguments: tuple[str, ...]
    sentence: str


def ensure_environment(root: Path, extras: Sequence[str]) -> Path:
    """Install the checkout with these extras unless the stamp says they are there; return the environment's Python.

    Raises CommandError, and leaves no stamp, when the environment cannot be made or pip fails.
    """
    if not (root / "pyproject.toml").is_file():
        raise CommandError(f"{root} is no checkout of the course; clone the project and call this from its folder")
    torch = os.environ.get("TORCH", "").strip()
    venv = root / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = venv / STAMP
    fingerprint = _fingerprint(root, torch)
    previous = _read_stamp(stamp)
    installed = set(previous.get("extras", []))
    if previous.get("fingerprint") == fingerprint and installed.issuperset(extras) and python.exists():
        return python

    start = time.monotonic()
    stamp.unlink(missing_ok=True)
    _make_venv(venv, python, fits=previous.get("made_for", _made_for(root)) == _made_for(root))
    wanted = sorted(installed.union(extras))
    _install(root, python, wanted, torch)
    if "lab" in wanted:
        _register_kernel(python)
        _write_lab_settings(venv)
    unfinished = stamp.with_suffix(".unfinished")
    unfinished.write_text(
        json.dumps({"fingerprint": fingerprint, "made_for": _made_for(root), "extras": wanted}), encoding="utf-8"
    )
    unfinished.replace(stamp)
    _say(f"Installed into .venv in {time.monotonic() - start:.0f} s.")
    return python


def choose_torch(
    override: str, cpu_index: str, platform: str, has_gpu: Callable[[], bool], answers: Callable[[str], bool]
) -> TorchChoice:
    """Choose PyTorch's build: the caller's own, CUDA where there is a GPU, the CPU build where there is none."""
    if override:
        # Forced, because pip takes a CPU and a CUDA build of one version for the same thing.
        return TorchChoice(
            ("--force-reinstall", *shlex.split(override, posix=os.name != "nt")), f"PyTorch: {override}, as TORCH says."
        )
    if platform != "linux":
        hint = ""
        if platform == "win32" and has_gpu():
            hint = " It does not use the NVIDIA GPU; docs/installing.md, under PyTorch, says how to take a CUDA build."
        return TorchChoice((), f"PyTorch: pip's build for this system.{hint}")
    if has_gpu():
        return TorchChoice((), "PyTorch: pip's CUDA build, because nvidia-smi lists a GPU.")
    if cpu_index and answers(cpu_index):
        # The index serves torch alone. What torch needs comes with the rest, in the versions of constraints.txt.
        return TorchChoice(("torch", "--index-url", cpu_index), f"PyTorch: the CPU build of {cpu_index}; no GPU here.")
    return TorchChoice((), "PyTorch: pip's own choice; no GPU here, and PyTorch's CPU index does not answer.")


def has_nvidia_gpu() -> bool:
    """Return whether nvidia-smi is there and lists a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    try:
        listing = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU" in listing.stdout


def index_answers(index: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether a package index lists torch within so many seconds, name look-up and proxies included."""
    found = threading.Event()
    finished = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=seconds) as page:
                if page.status == 200 and b"torch" in page.read(4096):
                    found.set()
        except (OSError, ValueError):
            pass
        finally:
            finished.set()

    # A thread, because the timeout of urlopen holds for each step, and for the look-up of the name not at all.
    threading.Thread(target=ask, daemon=True).start()
    finished.wait(seconds)
    return found.is_set()


def torch_cpu_index(root: Path) -> str:
    """Return the address of PyTorch's CPU index: the environment's TORCH_CPU_INDEX, else the Makefile's."""
    if "TORCH_CPU_INDEX" in os.environ:
        return os.environ["TORCH_CPU_INDEX"].strip()
    line = re.search(r"^TORCH_CPU_INDEX *\?= *(\S*)", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return line.group(1) if line else ""


def constraints_without_torch(constraints: str) -> str:
    """Return the constraints less torch and triton: the build that TORCH names decides both."""
    return "".join(line for line in constraints.splitlines(True) if not re.match(r"(torch|triton)\s*==", line))


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _made_for(root: Path) -> str:
    return f"Python {sys.version_info.major}.{sys.version_info.minor} at {root}"


def _fingerprint(root: Path, torch: str) -> str:
    parts = [(root / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    parts += [torch.encode(), _made_for(root).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _read_stamp(stamp: Path) -> dict[str, Any]:
    try:
        content = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _make_venv(venv: Path, python: Path, fits: bool) -> None:
    """Create .venv, or keep one that fits this folder and Python and can run pip."""
    if fits and python.exists():
        question = "import pip, sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([python, "-c", question], capture_output=True, text=True)
        same_version = answer.stdout.strip() == f"{sys.version_info.major}.{sys.version_info.minor}"
        if answer.returncode == 0 and same_version:
            return
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        raise CommandError(
            "this Python cannot create virtual environments; on Debian and Ubuntu install it with "
            "`sudo apt install python3-venv`, then try again"
        )
    _say(f"Creating .venv with Python {sys.version_info.major}.{sys.version_info.minor}.")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv])
    if made.returncode:
        raise CommandError(f"`python -m venv` failed in {venv}; the lines above say why")


def _install(root: Path, python: Path, extras: Sequence[str], torch: str) -> None:
    choice = choose_torch(torch, torch_cpu_index(root), sys.platform, has_nvidia_gpu, index_answers)
    _say(choice.sentence)
    constraints = root / "constraints.txt"
    requirements = ["-e", f".[{','.join(extras)}]"]
    if torch:
        text = constraints_without_torch(constraints.read_text(encoding="utf-8"))
        constraints = root / ".venv" / "constraints.txt"
        constraints.write_text(text, encoding="utf-8")
        _pip(root, python, ["--no-deps", *choice.arguments])
        question = "import importlib.metadata; print(importlib.metadata.version('torch'))"
        version = subprocess.run([python, "-c", question], capture_output=True, text=True).stdout.strip()
        if not version:
            raise CommandError(f"TORCH={torch!r} did not install torch; give a requirement or the path of a wheel")
        requirements.append(f"torch==={version}")
    elif choice.arguments:
        _pip(root, python, ["--no-deps", "-c", str(constraints), *choice.arguments], needed=False)
    _say(f"Installing megalodon-edu with {', '.join(extras)}. The first time this takes some minutes.")
    _pip(root, python, ["-c", str(constraints), *requirements])


def _pip(root: Path, python: Path, arguments: Sequence[str], needed: bool = True) -> None:
    # On a terminal pip shows what it downloads, with bars; in a log only what goes wrong is worth its lines.
    manner = [] if sys.stdout.isatty() else ["--quiet"]
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *manner, *arguments]
    if subprocess.run(command, cwd=root).returncode == 0:
        return
    if needed:
        raise CommandError("pip failed; the lines above say why. The next call starts the installation again")
    _say("PyTorch's CPU index has no build for this Python: taking pip's own choice.")


def _register_kernel(python: Path) -> None:
    """Give the notebooks' kernel, python3, this environment's Python; nothing outside .venv is written."""
    arguments = ["--sys-prefix", "--name", "python3", "--display-name", "Python 3 (megalodon-edu)"]
    registered = subprocess.run([python, "-m", "ipykernel", "install", *arguments], capture_output=True, text=True)
    if registered.returncode:
        raise CommandError(f"the Jupyter kernel could not be registered: {registered.stderr.strip()}")


def _write_lab_settings(venv: Path) -> None:
    """Keep JupyterLab's question about news off the first page that a reader sees."""
    folder = venv / "share" / "jupyter" / "lab" / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (folder / "overrides.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
