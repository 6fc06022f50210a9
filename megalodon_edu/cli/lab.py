"""`lab`: open the course in JupyterLab, from a checkout or from an installed package."""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from megalodon_edu.cli import CommandError
from megalodon_edu.cli.course import Delivery, deliver
from megalodon_edu.cli.setup import ROOT, ensure_environment

HELP = "open the course in JupyterLab; in a checkout, install it into .venv first"
EXTRAS = ("lab", "kernels")
PASSES_ARGUMENTS_ON = True
COURSE = Path(__file__).resolve().parents[1] / "course"
FOLDER = Path("megalodon-edu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command; every other argument goes on to JupyterLab."""
    parser.usage = "megalodon-edu lab [--help] [--no-open] [--folder FOLDER] [--fresh] [JupyterLab's arguments]"
    parser.add_argument("--no-open", action="store_true", help="get everything ready, and do not start JupyterLab")
    parser.add_argument("--folder", type=Path, help=f"installed package: where the notebooks go; default ./{FOLDER}")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="installed package: rename the notebooks you changed, and put the course's in their places",
    )
    parser.epilog = """\
Without a screen:   megalodon-edu lab --no-browser --port 8890
Another PyTorch:    set TORCH to what pip shall install, for example TORCH="torch==2.13.0"

In a checkout, the first call creates .venv and installs into it. Later calls find that done and open at once.
From an installed package, the notebooks are copied to a folder. Called again, it brings what is missing and what the
course has changed; a file that you changed stays as it is.
"""


def run(args: argparse.Namespace) -> int:
    """Install or copy where needed, then become JupyterLab."""
    if COURSE.is_dir():  # only an installed package carries it
        folder, python = (args.folder or FOLDER).expanduser().absolute(), sys.executable
        print(_report(folder, deliver(COURSE, folder, args.fresh)), flush=True)
        if not args.no_open and importlib.util.find_spec("jupyterlab") is None:
            raise CommandError(
                "this Python lacks JupyterLab: install the package with its extra [lab], "
                f"or open {folder / 'notebooks'} in a Jupyter that uses {sys.executable}"
            )
    elif args.folder is not None or args.fresh:
        raise CommandError(
            f"--folder and --fresh are for an installed package; here the notebooks are those of {ROOT / 'notebooks'}"
        )
    else:
        # The whole checkout is within reach, so that a reader can look into the package; notebooks/ is what opens.
        folder, python = ROOT, str(ensure_environment(ROOT, EXTRAS))
    if args.no_open:
        return 0
    return _open(python, folder, args.rest)


def _open(python: str, folder: Path, arguments: list[str]) -> int:
    folders = [f"--ServerApp.root_dir={folder}", f"--FileContentsManager.preferred_dir={folder / 'notebooks'}"]
    command = [python, "-m", "jupyterlab", *folders]
    if os.name == "posix" and os.geteuid() == 0:
        command.append("--allow-root")  # in a container the only user is root
    command += arguments
    # The kernel of this environment goes before one of the same name in the reader's home.
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}
    if os.name == "posix":
        os.execve(command[0], command, environment)
    return subprocess.run(command, env=environment).returncode


def _report(folder: Path, delivery: Delivery) -> str:
    lines = [f"The course is in {folder}: {len(delivery.copied)} files copied, {len(delivery.renewed)} renewed."]
    if delivery.kept:
        lines.append(f"You changed these, and they stay: {', '.join(delivery.kept)}.")
        lines.append("`megalodon-edu lab --fresh` renames yours and puts the course's in their places.")
    lines += [f"Your {name} is now {aside}." for name, aside in delivery.set_aside]
    return "\n".join(lines)
