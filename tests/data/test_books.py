import hashlib
import io
import sys
import tarfile

import pytest

from megalodon_edu.data import SPLITS, Document, documents, library
from megalodon_edu.data.books import read_archive

TEXTS = {"train/a/first.txt": b"one two", "test/b/second.txt": b"three"}


def pack(texts):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for path, text in texts.items():
            member = tarfile.TarInfo(path)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return packed.getvalue()


def entries(texts):
    return [
        {
            "path": path,
            "author": "A",
            "title": "T",
            "year": None,
            "bytes": len(text),
            "sha256": hashlib.sha256(text).hexdigest(),
            "source": "s",
            "licence": "l",
        }
        for path, text in texts.items()
    ]


def read(archive, manifest):
    return read_archive(archive, hashlib.sha256(archive).hexdigest(), manifest)


@pytest.fixture
def document():
    return {
        "title": "T",
        "author": "A",
        "year": 1851,
        "split": "train",
        "text": b"Call me",
        "source": "s",
        "licence": "l",
        "path": "a/t.txt",
    }


def test_the_library_holds_the_known_books():
    assert len(library()) == 351
    sizes = {split: sum(document.size for document in documents(split)) for split in SPLITS}
    assert sizes == {"train": 22_514_265, "validation": 849_113, "test": 1_427_754, "test-ood": 1_191_531}
    assert {split: len(documents(split)) for split in SPLITS} == {
        "train": 324,
        "validation": 12,
        "test": 14,
        "test-ood": 1,
    }
    assert sum(documents(split) != () for split in SPLITS) == 4


def test_the_library_is_read_once():
    assert library() is library()


def test_a_document_knows_its_book():
    (book,) = documents("test-ood")
    assert (book.title, book.author, book.year) == ("Moby-Dick", "Herman Melville", 1851)
    assert book.text.startswith(b"CHAPTER 1. Loomings.\n\nCall me Ishmael.")
    assert book.size == len(book.text) == 1_191_531
    assert book.licence == "public domain"
    assert book.path == "test-ood/herman-melville/moby-dick.txt"
    assert len(repr(book)) < 1000


def test_no_text_is_in_two_splits():
    texts = [document.text for document in library()]
    assert len(set(texts)) == len(texts)
    assert {book.author for book in documents("test-ood")}.isdisjoint(book.author for book in documents("train"))


@pytest.mark.parametrize("split", ["valid", "", "TRAIN", None])
def test_documents_refuses_an_unknown_split(split):
    with pytest.raises(ValueError, match=f"split must be one of train, validation, test, test-ood, got {split!r}"):
        documents(split)


def test_a_small_archive():
    first, second = read(pack(TEXTS), entries(TEXTS))
    assert (first.text, first.split, first.path) == (b"one two", "train", "train/a/first.txt")
    assert (second.text, second.split) == (b"three", "test")


def test_a_damaged_archive_is_refused():
    archive = bytearray(pack(TEXTS))
    sha256 = hashlib.sha256(archive).hexdigest()
    archive[50] ^= 1
    with pytest.raises(ValueError, match=f"archive must have the SHA-256 {sha256}, got .*install the package again"):
        read_archive(bytes(archive), sha256, entries(TEXTS))


def test_a_changed_text_is_refused():
    with pytest.raises(ValueError, match=r"test/b/second.txt must have the SHA-256 .*, got .*install"):
        read(pack(TEXTS | {"test/b/second.txt": b"thret"}), entries(TEXTS))


def test_a_text_with_the_start_token_is_refused():
    texts = TEXTS | {"test/b/second.txt": b"th\0ee"}
    with pytest.raises(ValueError, match=r"test/b/second.txt must not hold the byte 0.*at offset 2"):
        read(pack(texts), entries(texts))


@pytest.mark.parametrize(("archived", "listed", "place"), [(1, 2, "manifest"), (2, 1, "archive")])
def test_archive_and_manifest_must_agree(archived, listed, place):
    few, all_ = dict(list(TEXTS.items())[:1]), TEXTS
    choose = {1: few, 2: all_}
    with pytest.raises(ValueError, match=f"same files, got test/b/second.txt only in the {place}"):
        read(pack(choose[archived]), entries(choose[listed]))


def test_a_python_without_lzma_is_told(monkeypatch):
    archive = pack(TEXTS)
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(RuntimeError, match="built without its lzma module; use a Python from"):
        read(archive, entries(TEXTS))


def test_a_missing_archive_is_named(monkeypatch, tmp_path):
    books = sys.modules["megalodon_edu.data.books"]
    monkeypatch.setattr(books, "files", lambda package: tmp_path)
    library.cache_clear()
    with pytest.raises(
        FileNotFoundError, match=r"needs .*library\.tar\.xz, which is missing; install the package again"
    ):
        library()


def test_a_document_is_checked(document):
    assert Document(**document).size == 7
    with pytest.raises(ValueError, match="split must be one of"):
        Document(**document | {"split": "dev"})
    with pytest.raises(ValueError, match=r"a/t\.txt must not hold the byte 0.*at offset 0"):
        Document(**document | {"text": b"\0"})
    with pytest.raises(TypeError, match="text must be bytes, got str"):
        Document(**document | {"text": "Call me"})
