"""The bundled library: books, plays and speeches in the public domain (docs/provenance.md tells where from)."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from megalodon_edu.data.document import Document, require_split

ARCHIVE_SHA256 = "2c4e7dd4a7d890cbbedb0dc0340d500176ee8d4f9bf3fd5413ea1aba655f2af0"


@cache
def library() -> tuple[Document, ...]:
    """Return every bundled document, in the order of the manifest. The first call reads and checks the archive.

    Raises FileNotFoundError if the archive is missing, ValueError if it or a document differs from its checksum.
    """
    folder = files("megalodon_edu.data")
    try:
        archive = folder.joinpath("library.tar.xz").read_bytes()
        manifest = json.loads(folder.joinpath("MANIFEST.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the library needs {error.filename}, which is missing; install the package again"
        ) from error
    return read_archive(archive, ARCHIVE_SHA256, manifest)


def documents(split: str) -> tuple[Document, ...]:
    """Return the bundled documents of one split: train, validation, test or test-ood.

    Raises ValueError for an unknown split.
    """
    require_split("split", split)
    return tuple(document for document in library() if document.split == split)


def read_archive(archive: bytes, sha256: str, manifest: Sequence[Mapping[str, Any]]) -> tuple[Document, ...]:
    """Return the documents of a tar.xz archive, each checked against its entry in the manifest.

    The split is the first folder of the path. Raises ValueError if a checksum differs, or if archive and manifest
    do not list the same files; RuntimeError if this Python cannot read xz.
    """
    found = hashlib.sha256(archive).hexdigest()
    if found != sha256:
        raise ValueError(
            f"archive must have the SHA-256 {sha256}, got {found}; it is damaged, install the package again"
        )
    texts = unpack(archive)
    listed = {entry["path"] for entry in manifest}
    if listed != texts.keys():
        example = min(listed ^ texts.keys())
        place = "manifest" if example in listed else "archive"
        raise ValueError(f"archive and manifest must list the same files, got {example} only in the {place}")
    return tuple(check_entry(entry, texts[entry["path"]]) for entry in manifest)


def unpack(archive: bytes) -> dict[str, bytes]:
    """Return the files of a tar.xz archive by path."""
    texts = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:xz") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is not None:
                    texts[member.name] = content.read()
    except tarfile.CompressionError as error:
        raise RuntimeError(
            "the library is packed with xz, and this Python was built without its lzma module; "
            "use a Python from python.org, conda or your system's packages"
        ) from error
    return texts


def check_entry(entry: Mapping[str, Any], text: bytes) -> Document:
    """Return the document of one manifest entry; raise ValueError if the text is not the listed one."""
    found = hashlib.sha256(text).hexdigest()
    if found != entry["sha256"]:
        raise ValueError(
            f"{entry['path']} must have the SHA-256 {entry['sha256']}, got {found}; install the package again"
        )
    return Document(
        title=entry["title"],
        author=entry["author"],
        year=entry["year"],
        split=entry["path"].split("/")[0],
        text=text,
        source=entry["source"],
        licence=entry["licence"],
        path=entry["path"],
    )
