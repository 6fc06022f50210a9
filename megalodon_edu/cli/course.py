"""The course's files in a folder of the reader's: new ones are copied, and what the reader changed stays.

Only the standard library is imported, as for every command that opens the course.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megalodon_edu.cli import CommandError

RECORD = ".megalodon-edu.json"


@dataclass
class Delivery:
    """What was done, as paths inside the folder."""

    copied: list[str] = field(default_factory=list)
    """Files that were not there."""
    renewed: list[str] = field(default_factory=list)
    """Files that the reader had not touched, and that the course has changed since."""
    kept: list[str] = field(default_factory=list)
    """Files that the reader changed, and that stay as they are."""
    set_aside: list[tuple[str, str]] = field(default_factory=list)
    """Files that the reader changed, each with its new name; the course's stands in its place."""


def deliver(course: Path, folder: Path, fresh: bool = False) -> Delivery:
    """Bring every file of `course` into `folder`, and overwrite nothing that the reader changed.

    A record in the folder tells what was delivered last: a file that still has that content is the course's, any other
    is the reader's. The reader's stay; with `fresh` they are renamed, and the course's files take their places.
    Raises CommandError where the folder cannot be written.
    """
    delivery = Delivery()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = _read_record(folder / RECORD)
        for source in sorted(path for path in course.rglob("*") if path.is_file()):
            name = source.relative_to(course).as_posix()
            _deliver_one(source, folder / name, name, record, delivery, fresh)
            _replace(folder / RECORD, json.dumps(record, indent=1, sort_keys=True).encode())
    except OSError as error:
        raise CommandError(
            f"cannot write the course to {folder}: {error.strerror}; name another place with --folder"
        ) from error
    return delivery


def _deliver_one(
    source: Path, target: Path, name: str, record: dict[str, Any], delivery: Delivery, fresh: bool
) -> None:
    content = source.read_bytes()
    shipped = _digest(content)
    there = _digest(target.read_bytes()) if os.path.lexists(target) else None
    if there is None:
        delivery.copied.append(name)
    elif there == shipped:
        record[name] = shipped
        return
    elif there == record.get(name):
        delivery.renewed.append(name)
    elif fresh:
        aside = _free_name(target)
        target.rename(aside)
        delivery.set_aside.append((name, aside.name))
    else:
        delivery.kept.append(name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(target, content)
    record[name] = shipped


def _free_name(path: Path) -> Path:
    """A name beside `path` that nothing has yet: chapter.mine-1.ipynb."""
    number = 1
    while os.path.lexists(free := path.with_name(f"{path.stem}.mine-{number}{path.suffix}")):
        number += 1
    return free


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step: an interruption leaves the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def _read_record(path: Path) -> dict[str, Any]:
    """What was delivered last, or nothing: then every file that differs counts as the reader's."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
