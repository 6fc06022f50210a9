"""`book`: install what the web book needs into .venv, then build it from the notebooks."""

import argparse
import subprocess
from pathlib import Path

from megalodon_edu.cli.setup import ROOT, ensure_environment

HELP = "build the web book from the notebooks: static pages in which the explorers live"
EXTRAS = ("lab", "book")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "book", help="folder; default: %(default)s")
    parser.epilog = """\
The book needs no server and no network: open its index.html, or put the folder on any host of static pages.
Pages show the outputs that are stored in the notebooks; nothing is executed.
"""


def run(args: argparse.Namespace) -> int:
    """Install where needed, build, and say where the book begins."""
    python = ensure_environment(ROOT, EXTRAS)
    out = args.out.resolve()
    status = subprocess.run([python, "-m", "megalodon_edu.authoring.book", ROOT, out], cwd=ROOT).returncode
    if status == 0:
        print(f"The book begins at {out / 'index.html'}")
    return status
