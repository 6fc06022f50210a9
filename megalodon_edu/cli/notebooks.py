"""`notebooks`: execute the chapters and store them in canonical form, or say where one departs from it."""

import argparse
import time
from pathlib import Path

from megalodon_edu.arguments import require_above_zero
from megalodon_edu.authoring.canonical import problems
from megalodon_edu.authoring.copies import CopyOutdated, renewed, run_copy
from megalodon_edu.authoring.notebooks import CELL_TIMEOUT, NotebookFailed, begin, read, write
from megalodon_edu.authoring.notebooks import run as run_notebook
from megalodon_edu.cli import CommandError
from megalodon_edu.cli.failures import explained
from megalodon_edu.project import with_launch_links
from megalodon_edu.training.whole_file import whole_file

HELP = "for authors: run the chapters' notebooks and store them in canonical form, or check that form"
FOLDER = Path("notebooks")
README = Path("README.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument(
        "action",
        choices=["run", "check", "address", "copies"],
        help="run executes and stores; check only reads; address renews what depends on PROJECT_URL; copies renews "
        "the text of what --into stored",
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, help="notebooks; default: all in ./notebooks, for copies: all in folders there"
    )
    parser.add_argument("--into", type=Path, help="run: store what was executed in this folder, as a copy")
    parser.add_argument(
        "--cell-seconds", type=float, default=CELL_TIMEOUT, help=f"run: limit for a cell [{CELL_TIMEOUT}]"
    )
    parser.epilog = """\
After editing a chapter:   megalodon-edu notebooks run notebooks/01_exponential_moving_averages.ipynb
Before sending a change:   megalodon-edu notebooks check
With a new PROJECT_URL:    megalodon-edu notebooks address
On a machine with a GPU:   megalodon-edu notebooks run notebooks/12_*.ipynb --into notebooks/on_a_gpu
                           --cell-seconds 600

run starts a fresh kernel for each notebook, stops at the first cell that fails or takes longer than --cell-seconds, and
leaves the file as it was in that case. address renews the first cells, which install the course on Colab, and
without paths the links to Colab and Binder in ./README.md too. copies takes the text of the chapter one folder up, and
keeps the outputs; it refuses where the code has changed since. Canonical form: execution counts 1..n, no paths, times
or addresses of one machine, at most 4 digits after the decimal point, alt text for every picture. The exit status is 1
if anything is left to do.
"""


def run(args: argparse.Namespace) -> int:
    """Run or check each notebook; return 1 if any of them failed or is not canonical."""
    status = 0
    with explained():
        require_above_zero("--cell-seconds", args.cell_seconds)
    if args.action == "address" and not args.paths and README.is_file():
        renewed = with_launch_links(README.read_text(encoding="utf-8"))
        with whole_file(README) as file:
            file.write(renewed)
    for path in _notebooks(args.paths, "[!.]*/*.ipynb" if args.action == "copies" else "*.ipynb"):
        start = time.monotonic()
        try:
            found = _run(path, args.cell_seconds, args.into) if args.action == "run" else _read(path, args.action)
        except (NotebookFailed, CopyOutdated) as error:
            found = [str(error)]
        seconds = f" ({time.monotonic() - start:.1f} s)" if args.action == "run" else ""
        print(f"{path}: {'canonical' if not found else 'not canonical'}{seconds}", flush=True)
        for problem in found:
            print(f"  {problem}")
        status = max(status, int(bool(found)))
    return status


def _run(path: Path, cell_seconds: float, into: Path | None) -> list[str]:
    """Execute a notebook; the departures from canonical form of what was stored."""
    if into is None:
        return run_notebook(path, cell_seconds)
    return problems(read(run_copy(path, into, cell_seconds)))


def _read(path: Path, action: str) -> list[str]:
    """The departures of a stored notebook from canonical form, after what `action` renews was renewed."""
    notebook = read(path)
    if action == "address":
        begin(notebook)
        write(notebook, path)
    elif action == "copies":
        notebook = renewed(notebook, path.parent.parent / path.name, path.parent)
        write(notebook, path)
    return problems(notebook)


def _notebooks(paths: list[Path], pattern: str) -> list[Path]:
    found = paths or sorted(FOLDER.glob(pattern))
    if not found:
        raise CommandError(f"no notebooks in ./{FOLDER}; call this from the project's folder, or name some")
    if missing := [path for path in found if not path.is_file()]:
        raise CommandError(f"no such notebook: {', '.join(map(str, missing))}")
    return found
