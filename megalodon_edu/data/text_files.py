"""Read text files from a disk: UTF-8 is checked, bytes are returned, whatever is no text is named or counted."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from megalodon_edu.data.bytes import START, refuse_start

BLOCK = 1 << 16


@dataclass
class Skipped:
    """What a walk through a folder left out, by reason, with the first example of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one more."""
        self.counts[reason] += 1
        self.examples.setdefault(reason, name)

    def __str__(self) -> str:
        """Return one clause: "2 hidden (first: .git), 1 binary (first: photo.txt)"."""
        return ", ".join(f"{count} {reason} (first: {self.examples[reason]})" for reason, count in self.counts.items())


def read_folder(folder: Path, pattern: str, leave_out: Collection[str] = ()) -> tuple[dict[str, bytes], Skipped]:
    """Return the texts below a folder by path inside it, sorted, and what was skipped.

    Folders named in `leave_out` are passed over. Raises ValueError if no text is found.
    """
    skipped = Skipped()
    texts = {}
    for file in sorted(matching_files(folder, pattern, leave_out, skipped)):
        name = file.relative_to(folder).as_posix()
        text = read_bytes(file)
        reason = why_no_text(text)
        if reason:
            skipped.add(reason, name)
        else:
            texts[name] = text
    if not texts:
        also = f" (skipped: {skipped})" if skipped.counts else ""
        raise ValueError(
            f"path must hold text files that fit the pattern {pattern!r}, got none in {str(folder)!r}{also}; "
            "the pattern is for the name of a file, '*' fits every file"
        )
    return texts, skipped


def matching_files(folder: Path, pattern: str, leave_out: Collection[str], skipped: Skipped) -> Iterator[Path]:
    """Yield the files below a folder that fit the pattern; count what is hidden and links to folders."""

    def refuse(error: OSError) -> None:
        raise type(error)(
            f"path must be a readable folder, got {error.filename!r} ({error.strerror}); change its permissions"
        ) from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        place = Path(parent)
        inside = place.relative_to(folder)
        entered = []
        for name in sorted(set(folders).difference(leave_out)):
            if name.startswith("."):
                skipped.add("hidden", (inside / name).as_posix())
            elif (place / name).is_symlink():
                skipped.add("links to folders", (inside / name).as_posix())
            else:
                entered.append(name)
        folders[:] = entered
        for name in sorted(names):
            if not fnmatchcase(name, pattern) or not (place / name).is_file():
                continue
            if name.startswith("."):
                skipped.add("hidden", (inside / name).as_posix())
            else:
                yield place / name


def why_no_text(text: bytes) -> str | None:
    """Return why these bytes are no text in UTF-8: "empty", "binary", "not UTF-8"; None if they are one."""
    if not text:
        return "empty"
    if START in text:
        return "binary"
    try:
        text.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    return None


def read_text(file: Path) -> bytes:
    """Return the bytes of a file; raise ValueError if it is empty or no text in UTF-8."""
    text = read_bytes(file)
    if not text:
        raise ValueError(f"path must hold some text, got the empty file {str(file)!r}; choose another")
    refuse_start(str(file), text)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path must be a text in UTF-8, got {str(file)!r} with the byte {text[error.start]:#04x} at offset "
            f"{error.start}; save it again as UTF-8"
        ) from error
    return text


def read_bytes(file: Path) -> bytes:
    """Return the bytes of a file, or its first block if that holds the byte 0: of a film, a glance is enough.

    Raises the system's own error, PermissionError for example, with what to do about it.
    """
    try:
        with file.open("rb") as opened:
            block = opened.read(BLOCK)
            return block if START in block else block + opened.read()
    except OSError as error:
        raise type(error)(
            f"path must be a readable file, got {str(file)!r} ({error.strerror}); "
            "change its permissions or leave it out"
        ) from error
