"""`complete`: for a hosted notebook, which has a Python of its own: install what the course needs and is not there."""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from megalodon_edu.cli import CommandError

HELP = "for hosted notebooks, such as Colab's: install what the course needs and this Python lacks"
# Of the extras, what the notebooks themselves import; the host brings its own Jupyter.
FROM_EXTRAS = {"lab": ("anywidget",), "kernels": ("triton",)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = """\
The first cell of every notebook calls this where the package is missing. What is there stays, in the version that is
there: a host's PyTorch fits its GPU.
"""


def run(args: argparse.Namespace) -> int:
    """Install what is missing, then say what the notebooks run on."""
    lacking = missing(metadata.requires("megalodon-edu") or [], is_installed)
    if lacking:
        done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *lacking])
        if done.returncode:
            raise CommandError(f"pip could not install {', '.join(lacking)}; the lines above say why")
    print(runtime())
    return 0


def missing(requirements: Sequence[str], installed: Callable[[str], bool]) -> list[str]:
    """Return those requirements of the package that notebooks need and that are not installed, in any version.

    `requirements` is what importlib.metadata gives: 'triton>=3.6; platform_system == "Linux" and extra == "kernels"'.
    """
    lacking = []
    for line in requirements:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", marker)
        wanted = extra is None or name in FROM_EXTRAS.get(extra[1], ())
        if wanted and not installed(name):
            where = re.sub(r"""(?:\s*\band\s+)?\bextra\s*==\s*['"][^'"]+['"]""", "", marker).strip(" ()")
            lacking.append(f"{requirement}; {where}" if where else requirement)
    return lacking


def is_installed(name: str) -> bool:
    """Return whether a distribution of this name is installed."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def runtime() -> str:
    """Return the sentences that say which PyTorch and which device the notebooks use."""
    import torch  # here, because it may just have been installed

    from megalodon_edu.kernels.availability import why_not

    if not torch.cuda.is_available():
        device = (
            "No GPU here: the notebooks run on the CPU, and Triton kernels in its interpreter. "
            "On Colab, `Runtime > Change runtime type` offers a GPU."
        )
    elif reason := why_not("cuda"):
        device = f"GPU: {torch.cuda.get_device_name()}. Models run in PyTorch's operators there: {reason}."
    else:
        device = f"GPU: {torch.cuda.get_device_name()}. Triton kernels run on it."
    return f"PyTorch {torch.__version__}. {device}"
