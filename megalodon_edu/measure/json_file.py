"""JSON files that are whole at every moment."""

import json
from pathlib import Path
from typing import Any

from megalodon_edu.training.whole_file import whole_file


def save_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file, and its folder where there is none. At every moment the file is whole, or the one before."""
    with whole_file(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")
