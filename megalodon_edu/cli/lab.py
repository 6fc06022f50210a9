"""`lab`: install the course into .venv and open it in JupyterLab."""

import argparse
import os
import subprocess

from megalodon_edu.cli.setup import ROOT, ensure_environment

HELP = "install the course into .venv and open it in JupyterLab"
EXTRAS = ("lab", "kernels")
PASSES_ARGUMENTS_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command; every argument goes on to JupyterLab."""
    parser.usage = "megalodon-edu lab [--help] [JupyterLab's arguments]"
    parser.epilog = """\
Without a screen:   megalodon-edu lab --no-browser --port 8890
Another PyTorch:    set TORCH to what pip shall install, for example TORCH="torch==2.13.0"

The first call creates .venv in the checkout and installs into it. Later calls find that done and open at once.
"""


def run(args: argparse.Namespace) -> int:
    """Install where needed, then become JupyterLab."""
    python = ensure_environment(ROOT, EXTRAS)
    # The whole checkout is within reach, so that a reader can look into the package; notebooks/ is what opens.
    folders = [f"--ServerApp.root_dir={ROOT}", f"--FileContentsManager.preferred_dir={ROOT / 'notebooks'}"]
    command = [str(python), "-m", "jupyterlab", *folders]
    if os.name == "posix" and os.geteuid() == 0:
        command.append("--allow-root")  # in a container the only user is root
    command += args.rest
    # The kernel of .venv goes before one of the same name in the reader's home.
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}
    if os.name == "posix":
        os.execve(command[0], command, environment)
    return subprocess.run(command, env=environment).returncode
