"""A chapter as another machine ran it: the chapter's cells with that machine's outputs, in a folder of their own.

A copy says at its top where it ran, and its links lead to where the chapter's lead. Its outputs stay as they are; its
text is renewed from the chapter, as long as the code is the same.
"""

import os
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode

from megalodon_edu.authoring.canonical import code_cells
from megalodon_edu.authoring.notebooks import FIRST_LINES, execute, lead_links, read, write
from megalodon_edu.measure.environment import environment

NOTE = "of-another-machine"
"""The id of the cell that says where a copy ran."""


class CopyOutdated(Exception):
    """The chapter's code is no longer the code that was run; the message names the cell and says what to do."""


def run_copy(path: Path, folder: Path, cell_timeout: float) -> Path:
    """Execute the chapter `path` in a fresh kernel and store it in `folder`; the chapter stays as it is.

    Returns the copy's path. Raises notebooks.NotebookFailed.
    """
    executed = execute(read(path), path.parent, cell_timeout)
    here = environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    title = str(executed.cells[0].source).partition("\n")[0].removeprefix("# ")
    note = (
        f"> **The outputs on this page are another machine's:** {here['device']}, Python {here['python']}, "
        f"torch {here['torch']}, Triton {here['triton'] or 'not installed'}. "
        f"To read and to run the chapter, take [{title}]({path.name})."
    )
    executed.cells.insert(1, nbformat.v4.new_markdown_cell(note, id=NOTE))
    folder.mkdir(parents=True, exist_ok=True)
    _lead(executed, path.parent, folder)
    write(executed, folder / path.name)
    return folder / path.name


def renewed(kept: NotebookNode, path: Path, folder: Path) -> NotebookNode:
    """The copy `kept`, which lies in `folder`, with the text that its chapter at `path` has now.

    Raises CopyOutdated where the chapter's code differs from the copy's, apart from the lines that install the course.
    """
    now = read(path)
    ours, theirs = code_cells(kept), code_cells(now)
    different = [b.id for a, b in zip(ours, theirs, strict=False) if _code(a) != _code(b)]
    if different or len(ours) != len(theirs):
        where = f"cell {different[0]}" if different else f"{len(theirs)} code cells for {len(ours)}"
        raise CopyOutdated(
            f"{folder / path.name}: the chapter's code has changed ({where}); run it again where it ran, with "
            f"`megalodon-edu notebooks run {path} --into {folder}`"
        )
    _lead(now, path.parent, folder)
    now.metadata = kept.metadata
    for cell, run in zip(theirs, ours, strict=True):
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
    now.cells.insert(1, next(cell for cell in kept.cells if cell.get("id") == NOTE))
    return now


def _code(cell: NotebookNode) -> str:
    return FIRST_LINES.sub("", cell.source)


def _lead(notebook: NotebookNode, source: Path, target: Path) -> None:
    """Let the links lead from `target` to where they led from `source`."""
    lead_links(notebook, lambda link: os.path.relpath(source / link, target).replace(os.sep, "/"))
