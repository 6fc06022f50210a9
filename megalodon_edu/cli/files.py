"""Files that a command reads or leaves behind: what cannot work is said before any work is done."""

import os
from pathlib import Path


def require_folder(name: str, folder: Path) -> None:
    """Raise ValueError unless the folder is there, or can be made, and may be written to; `name` is the argument."""
    there = folder.absolute()
    while not os.path.exists(there):
        there = there.parent
    if not there.is_dir():
        raise ValueError(f"{name} must lie in a folder, got {str(folder)!r}: {there} is a file; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{name} must be writable, got {str(folder)!r}: {there} is not; choose another place")


def require_file_to_write(name: str, path: Path) -> None:
    """Raise ValueError unless a file can be written there; `name` is the argument."""
    if path.is_dir():
        raise ValueError(f"{name} must name a file, got the folder {str(path)!r}; add the name of a file")
    require_folder(name, path.parent)


def read_file(name: str, path: Path) -> bytes:
    """Return the bytes of a file; raise ValueError, naming the argument, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{name} must name a file that can be read, got {str(path)!r} ({error.strerror}); check the path"
        ) from error
