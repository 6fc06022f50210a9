"""The reader's own texts: a file, a folder, or the Python sources on this machine."""

import hashlib
import os
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from megalodon_edu.data.bytes import refuse_start
from megalodon_edu.data.document import Document, require_split

LOCAL_SPLITS = ("train", "validation", "test")


def local_documents(
    path: str | os.PathLike[str], pattern: str = "*.txt", split: str | None = None
) -> tuple[Document, ...]:
    """Return the text of a local file, or of the files in a folder and its subfolders whose name fits the pattern.

    Texts are checked to be UTF-8 and kept as bytes. In a folder, hidden files and folders, empty files and files that
    are no text in UTF-8 are skipped, and a warning counts them. A single file must be a text; its name may be any.

    Splits: 90 % train, 5 % validation, 5 % test. A file of a folder belongs to one split as a whole, chosen by the
    SHA-256 of its path inside the folder: the same on every machine, and adding a file moves no other. A single file is
    cut by position: train comes first, test last. So is each file of a folder so small that a split would stay empty.
    With `split` given, every text belongs to that split, whole.

    Raises FileNotFoundError for a path that does not exist, PermissionError for what may not be read, ValueError for an
    unknown split, a single file that is no text, a folder without one, and too little text to be split.
    """
    if not os.fspath(path):
        raise ValueError("path must name a text file or a folder, got ''; the current folder is '.'")
    if split is not None:
        require_split("split", split)
    place = Path(path).expanduser()
    if place.is_dir():
        texts, skipped = read_folder(place, pattern)
        if skipped.counts:
            warnings.warn(f"{path}: read {len(texts)} files, skipped {skipped}", stacklevel=2)
    elif place.is_file():
        texts = {place.name: read_text(place)}
    elif place.exists():
        raise ValueError(f"path must be a text file or a folder, got {str(path)!r}, which is neither")
    else:
        raise FileNotFoundError(
            f"path must be a text file or a folder, got {str(path)!r}; no such file, check the name"
        )
    found = [
        Document(Path(name).stem, "unknown", None, split or "train", text, "local file", "unknown", name)
        for name, text in texts.items()
    ]
    return tuple(found) if split else assign_splits(found, str(path), by_path=place.is_dir())


def python_sources() -> tuple[Document, ...]:
    """Return the sources of Python's standard library on this machine, split by path: a repository as context.

    Its own tests, empty files and installed packages are left out. The sources differ with the version of Python, so
    no number of the course depends on them. Raises FileNotFoundError where Python came without its sources.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    try:
        texts, _ = read_folder(
            folder, "*.py", leave_out=("site-packages", "dist-packages", "test", "tests", "idle_test")
        )
    except (ValueError, OSError) as error:
        raise FileNotFoundError(
            f"python_sources needs the sources of the standard library, got none in {str(folder)!r}; "
            "use a Python from python.org, conda or your system's packages, or local_documents(folder, '*.py')"
        ) from error
    source = f"Python {'.'.join(map(str, sys.version_info[:3]))} standard library"
    found = [
        Document(name, "Python contributors", None, "train", text, source, "PSF-2.0", name)
        for name, text in texts.items()
    ]
    return assign_splits(found, str(folder), by_path=True)


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
    """Yield the files below a folder that fit the pattern; count hidden files and folders."""

    def refuse(error: OSError) -> None:
        raise type(error)(
            f"path must be a readable folder, got {error.filename!r} ({error.strerror}); change its permissions"
        ) from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        place = Path(parent)
        for name in [name for name in folders if name.startswith(".")]:
            skipped.add("hidden", (place / name).relative_to(folder).as_posix())
        folders[:] = [name for name in folders if not name.startswith(".") and name not in leave_out]
        for name in names:
            if not fnmatchcase(name, pattern) or not (place / name).is_file():
                continue
            if name.startswith("."):
                skipped.add("hidden", (place / name).relative_to(folder).as_posix())
            else:
                yield place / name


def why_no_text(text: bytes) -> str | None:
    """Return why these bytes are no text in UTF-8: "empty", "binary", "not UTF-8"; None if they are one."""
    if not text:
        return "empty"
    if 0 in text:
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
        raise ValueError(f"path must hold some text, got the empty file {str(file)!r}")
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
    """Return the bytes of a file; an error says what to do about it."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise type(error)(
            f"path must be a readable file, got {str(file)!r} ({error.strerror}); "
            "change its permissions or leave it out"
        ) from error


def assign_splits(whole: list[Document], origin: str, by_path: bool) -> tuple[Document, ...]:
    """Return the documents with their splits, by path or, if that leaves a split empty, by position."""
    if by_path:
        placed = [replace(document, split=split_of_path(document.path)) for document in whole]
        if {document.split for document in placed} == set(LOCAL_SPLITS):
            return tuple(placed)
    pieces = [piece for document in whole for piece in cut_by_position(document)]
    missing = [split for split in LOCAL_SPLITS if split not in {piece.split for piece in pieces}]
    if missing:
        size = sum(document.size for document in whole)
        raise ValueError(
            f"path must hold enough text for {', '.join(LOCAL_SPLITS)}, got {size} bytes in {origin!r}, which leave "
            f"{missing[0]} empty; add text, or put all of it into one split with split='test'"
        )
    return tuple(pieces)


def split_of_path(path: str) -> str:
    """Return the split of a path inside its folder: the SHA-256 of the path as a number from 0 to 99, 90/5/5."""
    number = int.from_bytes(hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest(), "big") % 100
    return "train" if number < 90 else "validation" if number < 95 else "test"


def cut_by_position(document: Document) -> list[Document]:
    """Return the first 90 % of a document as train, the next 5 % as validation, the last 5 % as test.

    A cut moves on to the next whole character; empty pieces are left out.
    """
    cuts = [0, *(next_character(document.text, document.size * percent // 100) for percent in (90, 95)), document.size]
    pieces = zip(LOCAL_SPLITS, cuts[:-1], cuts[1:], strict=True)
    return [replace(document, split=split, text=document.text[a:b]) for split, a, b in pieces if a < b]


def next_character(text: bytes, place: int) -> int:
    """Return the first place from here on at which a character of UTF-8 begins."""
    while place < len(text) and text[place] & 0b1100_0000 == 0b1000_0000:
        place += 1
    return place
