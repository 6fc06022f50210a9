"""The reader's own texts: a file, a folder, or the Python sources on this machine."""

import os
import sys
import sysconfig
import warnings
from pathlib import Path

from megalodon_edu.data.document import Document, require_split
from megalodon_edu.data.local_splits import assign_splits
from megalodon_edu.data.text_files import read_folder, read_text


def local_documents(
    path: str | os.PathLike[str], pattern: str = "*.txt", split: str | None = None
) -> tuple[Document, ...]:
    """Return the text of a local file, or of the files in a folder and its subfolders whose name fits the pattern.

    Texts are checked to be UTF-8 and kept as bytes. In a folder, hidden files and folders, links to folders, empty
    files and files that are no text in UTF-8 are skipped, and a warning counts them. A single file must be a text; its
    name may be any.

    Splits: train gets 90 % of the files of a folder, validation and test 5 % each. A file belongs to one split as a
    whole, chosen by the SHA-256 of its path inside the folder: the same on every machine, and adding a file moves no
    other. A single file is cut by position: its first 90 % are train, the next 5 % validation, the rest test. So is
    each file of a folder with so few files that a split would stay empty. With `split` given, every text belongs to
    that split, whole.

    Raises TypeError if `path` is no path, FileNotFoundError if it does not exist, PermissionError for what may not be
    read, ValueError for an unknown split, a single file that is no text, a folder without one, and too little text to
    be split.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a Path, got {type(path).__name__}")
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
