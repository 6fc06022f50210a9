"""`test`: install what the tests need into .venv, then run ruff, mypy and pytest."""

import argparse
import os
import subprocess

from megalodon_edu.cli.setup import ROOT, ensure_environment

HELP = "install what the tests need, then run ruff, mypy and pytest"
EXTRAS = ("lab", "kernels", "book", "test", "dev")
PASSES_ARGUMENTS_ON = True
MOST_WORKERS = 4
"""Each takes up to 3 GB."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command; every argument goes on to pytest."""
    parser.usage = "megalodon-edu test [--help] [pytest's arguments]"
    parser.epilog = """\
One file:           megalodon-edu test tests/test_project.py
Without notebooks:  megalodon-edu test -m "not notebook and not browser"
In one process:     megalodon-edu test -n 0 --pdb

Test files run side by side, in one process more than there are cores, for some wait, and in at most 4.
All three run even if one of them fails; the exit status is that of the first failure.
"""


def run(args: argparse.Namespace) -> int:
    """Install where needed, run the three and return the first exit status that is not 0."""
    python = ensure_environment(ROOT, EXTRAS)
    cores = os.cpu_count() or 1
    workers = min(MOST_WORKERS, cores + 1)
    threads = {"OMP_NUM_THREADS": str(max(1, cores // workers))}
    side_by_side = ["-n", str(workers), "--dist", "loadscope"]
    status = 0
    for tool in (["ruff", "check", "."], ["mypy"], ["pytest", *side_by_side, *args.rest]):
        print(f"== {' '.join(tool)}", flush=True)
        failure = subprocess.run([python, "-m", *tool], cwd=ROOT, env=threads | os.environ).returncode
        status = status or failure
    return status
