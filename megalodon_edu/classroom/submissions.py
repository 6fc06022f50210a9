"""A folder of students' notebooks: who handed in what, read as far as it can be read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from megalodon_edu.project import COPIES

MOST_BYTES = 50 * 2**20
MOST_CODE = 10**6
CHAPTER_IMPORT = re.compile(
    r"^\s*(?:from\s+megalodon_edu\.exercises\s+import|import\s+megalodon_edu\.exercises\.).*", re.M
)
CHAPTER = re.compile(r"\bchapter(\d\d)\b")


class UnreadableNotebook(Exception):
    """A file that is no notebook; the message says why."""


class Submission(NamedTuple):
    """One notebook of one student."""

    student: str
    path: Path


class Answers(NamedTuple):
    """What a notebook holds: the chapters that it belongs to, and its code cells as (id, source, tagged "exercise")."""

    chapters: list[str]
    cells: list[tuple[str, str, bool]]


def submissions(folder: Path) -> list[Submission]:
    """Every notebook below the folder. The student is the subfolder's name, or the file's where there is none.

    Links are left out: they could lead to somebody else's work. So are folders whose names begin with a dot, and the
    course's own copies of chapters (`project.COPIES`) in a student's folder.
    """
    everything = sorted(_notebooks(folder))
    found = [
        Submission(path.relative_to(folder).parts[0], path)
        for path in everything
        if path.parent.name != COPIES or path.parent.parent == folder
    ]
    return [
        submission._replace(student=submission.path.stem) if submission.path.parent == folder else submission
        for submission in found
    ]


def _notebooks(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_symlink() or entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _notebooks(entry)
        elif entry.suffix == ".ipynb" and entry.is_file():
            yield entry


def read(path: Path) -> Answers:
    """The code cells of a notebook. Raises UnreadableNotebook."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UnreadableNotebook(f"the file has more than {MOST_BYTES // 2**20} MB; clear its outputs and save it")
        notebook = json.loads(path.read_bytes())
        cells = [_code(cell) for cell in notebook["cells"] if cell.get("cell_type") == "code"]
    except OSError as error:
        raise UnreadableNotebook(f"the file cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableNotebook("the file is no notebook: it is not JSON, or cut off") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableNotebook("the file is no notebook of format 4: save it once in a current Jupyter") from error
    if sum(len(text) for _, text, _ in cells) > MOST_CODE:
        raise UnreadableNotebook(f"the notebook holds more than {MOST_CODE:,} characters of code")
    source = "\n".join(line for _, text, _ in cells for line in CHAPTER_IMPORT.findall(text))
    digits = re.match(r"(\d\d)[_\W]", path.name)
    chapters = list(dict.fromkeys(CHAPTER.findall(source))) or ([digits[1]] if digits else [])
    return Answers(chapters, cells)


def _code(cell: dict[str, Any]) -> tuple[str, str, bool]:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    return str(cell.get("id", "")), text, "exercise" in cell.get("metadata", {}).get("tags", [])
