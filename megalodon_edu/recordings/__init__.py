"""Measured runs that ship with the course: each a folder with its numbers and run.json, which says how they came about.

run.json holds the command, sizes, seed, device, versions and commit: a number without them cannot be checked.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from megalodon_edu.arguments import require_choice

HERE = Path(__file__).parent


class Recording(NamedTuple):
    """The folder of a measured run, and what its run.json says."""

    folder: Path
    about: dict[str, Any]


def names() -> list[str]:
    """The recordings that are there, in alphabetical order."""
    return sorted(path.parent.name for path in HERE.glob("*/run.json"))


def recording(name: str) -> Recording:
    """Return one recording. Raises ValueError for a name that is not among `names()`."""
    require_choice("name", name, names())
    folder = HERE / name
    return Recording(folder, json.loads((folder / "run.json").read_text(encoding="utf-8")))
