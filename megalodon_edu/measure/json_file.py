"""JSON files that are whole at every moment."""

import json
import os
from pathlib import Path
from typing import Any


def save_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file, and its folder where there is none. At every moment the file is whole, or the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
