"""Execute a notebook in a fresh kernel and store it in canonical form."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from megalodon_edu.authoring.canonical import canonicalise, code_cells, problems
from megalodon_edu.project import first_lines

CELL_TIMEOUT = 120
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+")
"""The file that a link in Markdown names, without the place in it; none for an address or a place on the same page."""

FIRST_LINES = re.compile(r"\Afrom importlib\.util import find_spec\n\nif find_spec.*\n(?: +.*\n)*\n*")


class NotebookFailed(Exception):
    """A cell raised an exception, took too long or killed the kernel; the message names it."""


def read(path: Path) -> NotebookNode:
    """The notebook as it is stored."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Store a notebook, replacing the file in one step."""
    temporary = path.with_name(path.name + ".part")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)


def execute(notebook: NotebookNode, folder: Path, cell_timeout: float = CELL_TIMEOUT) -> NotebookNode:
    """Run all cells in a fresh kernel started in `folder`, and return the notebook in canonical form.

    Raises NotebookFailed at the first cell that raises an exception or takes longer than `cell_timeout` seconds.
    """
    running: list[int] = []
    client = NotebookClient(
        notebook,
        timeout=cell_timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        store_widget_state=False,
        on_cell_start=lambda cell, cell_index: running.append(cell_index),
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookFailed(f"{_cell(notebook, running)} raised {error.ename}: {error.evalue}") from error
    except CellTimeoutError as error:
        raise NotebookFailed(f"{_cell(notebook, running)} took longer than {cell_timeout:g} s") from error
    except DeadKernelError as error:
        raise NotebookFailed(f"{_cell(notebook, running)} killed its kernel") from error
    return canonicalise(notebook)


def lead_links(notebook: NotebookNode, leads: Callable[[str], str]) -> None:
    """Let every link to a file lead where `leads` says for the file that it names."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda link: leads(link[0]), cell.source)


def begin(notebook: NotebookNode) -> None:
    """Begin the first code cell, where there is one, with the lines that install the course on a hosted notebook."""
    for cell in code_cells(notebook)[:1]:
        cell.source = f"{first_lines()}\n{FIRST_LINES.sub('', cell.source)}"


def run(path: Path, cell_timeout: float = CELL_TIMEOUT) -> list[str]:
    """Execute a stored notebook and store it again in canonical form; returns what is still not canonical."""
    notebook = read(path)
    begin(notebook)
    notebook = execute(notebook, path.parent, cell_timeout)
    write(notebook, path)
    return problems(notebook)


def _cell(notebook: NotebookNode, running: list[int]) -> str:
    index = running[-1]
    number = sum(cell.cell_type == "code" for cell in notebook.cells[: index + 1])
    return f"code cell {number} ({notebook.cells[index].get('id')})"
