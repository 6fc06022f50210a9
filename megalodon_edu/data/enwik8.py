"""enwik8: the first 100 million bytes of Wikipedia in 2006, on which byte-level models are compared."""

import os
import zipfile
from pathlib import Path

from megalodon_edu.data.document import Document
from megalodon_edu.data.download import download

ENWIK8_URL = "http://mattmahoney.net/dc/enwik8.zip"
ENWIK8_SIZE = 36_445_475
ENWIK8_SHA256 = "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"


def enwik8(
    folder: str | os.PathLike[str] | None = None,
    url: str = ENWIK8_URL,
    size: int = ENWIK8_SIZE,
    sha256: str = ENWIK8_SHA256,
) -> tuple[Document, Document, Document]:
    """Return enwik8 as three documents: the first 90 % train, 5 % validation, 5 % test (90, 5 and 5 million bytes).

    The first call downloads the zip (36 MB) into `folder`, by default a folder for caches in the reader's home; later
    calls read it from there. An interrupted download goes on at the next call. `size` and `sha256` are the zip's.
    The cuts are those of the literature, to the byte.

    Raises NotADirectoryError if `folder` is a file, PermissionError if it may not be written to, ConnectionError if the
    download fails (what has arrived is kept), ValueError if its content is not the expected one.
    """
    place = default_folder() if folder is None else Path(folder).expanduser()
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(f"folder must be a folder, got the file {str(place)!r}; name the folder it lies in")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"folder must be one that can be made, got {str(place)!r} ({error.strerror}); choose another"
        ) from error
    text = unzip(download(url, place / "enwik8.zip", size, sha256))
    cuts = [0, len(text) * 90 // 100, len(text) * 95 // 100, len(text)]

    def piece(split: str, number: int) -> Document:
        return Document(
            title="enwik8",
            author="Wikipedia contributors",
            year=2006,
            split=split,
            text=text[cuts[number] : cuts[number + 1]],
            source=url,
            licence="GFDL 1.2 or later; CC BY-SA 3.0",
            path="enwik8",
        )

    return piece("train", 0), piece("validation", 1), piece("test", 2)


def default_folder() -> Path:
    """Return the folder for files that can be fetched again: $XDG_CACHE_HOME or ~/.cache, and the course's name."""
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "megalodon-edu"


def unzip(file: Path) -> bytes:
    """Return the only file of a zip; raise ValueError if there is none or more than one."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ValueError(f"url must deliver a zip of one file, got {len(names)} files in {file.name}")
        return archive.read(names[0])
