"""Splits for texts that come without: the same text gets the same split on every machine and in every run."""

import hashlib
from dataclasses import replace

from megalodon_edu.data.document import Document

LOCAL_SPLITS = ("train", "validation", "test")


def assign_splits(whole: list[Document], origin: str, by_path: bool) -> tuple[Document, ...]:
    """Return the documents with their splits, by path or, if that leaves a split empty, by position.

    Raises ValueError, naming `origin`, if there is too little text for every split to have some.
    """
    if by_path:
        placed = [replace(document, split=split_of_path(document.path)) for document in whole]
        if {document.split for document in placed} == set(LOCAL_SPLITS):
            return tuple(placed)
    pieces = [piece for document in whole for piece in cut_by_position(document)]
    filled = {piece.split for piece in pieces}
    missing = [split for split in LOCAL_SPLITS if split not in filled]
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
