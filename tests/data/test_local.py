import os
import sysconfig
import warnings
from pathlib import Path

import pytest

from megalodon_edu.data import local_documents, python_sources
from megalodon_edu.data.local_splits import split_of_path
from megalodon_edu.data.text_files import BLOCK, read_bytes

VERSE = "Full fathom five thy father lies; é ü 鯨\n".encode() * 50


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def folder(tmp_path):
    """Sixty texts in two folders: enough for every split."""
    for number in range(60):
        file = tmp_path / "texts" / str(number % 2) / f"{number:02}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"text {number}\n".encode())
    return tmp_path / "texts"


def in_split(documents, split):
    return [document for document in documents if document.split == split]


def test_a_folder_is_read_in_order_and_whole(folder):
    documents = local_documents(folder)
    assert [document.path for document in documents] == sorted(f"{n % 2}/{n:02}.txt" for n in range(60))
    assert documents[0].text == b"text 0\n"
    assert documents[0].title == "00"
    assert local_documents(str(folder)) == documents


def test_a_file_of_a_folder_has_its_split_from_its_path_alone(folder):
    before = {document.path: document.split for document in local_documents(folder)}
    assert set(before.values()) == {"train", "validation", "test"}
    (folder / "0" / "00.txt").write_bytes(b"other words")
    (folder / "new.txt").write_bytes(b"one more")
    after = {document.path: document.split for document in local_documents(folder)}
    assert after.pop("new.txt") in before.values()
    assert after == before


def test_splits_by_path_are_ninety_five_five():
    splits = [split_of_path(f"{number}.txt") for number in range(10_000)]
    for split, percent in [("train", 90), ("validation", 5), ("test", 5)]:
        assert splits.count(split) / 100 == pytest.approx(percent, abs=0.7)


def test_the_split_of_a_path_never_changes():
    assert [split_of_path(path) for path in ("00.txt", "22.txt", "10.txt")] == ["train", "validation", "test"]


def test_a_single_file_is_cut_by_position_at_whole_characters(tmp_path):
    file = tmp_path / "verse"
    file.write_bytes(VERSE)
    train, validation, test = local_documents(file)
    assert [train.split, validation.split, test.split] == ["train", "validation", "test"]
    assert train.text + validation.text + test.text == VERSE
    for piece in (train, validation, test):
        piece.text.decode()
    assert train.size == pytest.approx(0.90 * len(VERSE), abs=4)
    assert validation.size == pytest.approx(0.05 * len(VERSE), abs=4)
    assert train.path == "verse"


@pytest.mark.parametrize("lead", range(6))
def test_no_cut_goes_through_a_character(tmp_path, lead):
    file = tmp_path / "whales.txt"
    file.write_bytes(b"x" * lead + "鯨".encode() * 40)
    for piece in local_documents(file):
        piece.text.decode()


def test_a_small_folder_is_cut_by_position_file_by_file(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(VERSE)
    documents = local_documents(tmp_path)
    assert [(document.path, document.split) for document in documents] == [
        (name, split) for name in ("a.txt", "b.txt") for split in ("train", "validation", "test")
    ]
    assert b"".join(document.text for document in documents) == VERSE * 2


def test_one_split_for_everything(folder, tmp_path):
    assert {document.split for document in local_documents(folder, split="test-ood")} == {"test-ood"}
    (tmp_path / "one.txt").write_bytes(b"x")
    (document,) = local_documents(tmp_path / "one.txt", split="test")
    assert (document.text, document.split) == (b"x", "test")


def test_a_pattern_chooses_the_files(folder):
    (folder / "notes.md").write_bytes(b"note")
    documents = local_documents(folder, "*.md", split="train")
    assert [document.path for document in documents] == ["notes.md"]
    assert len(local_documents(folder, "*", split="train")) == 61


def test_what_is_skipped_is_counted(folder):
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_bytes(b"hidden")
    (folder / ".hidden.txt").write_bytes(b"hidden")
    (folder / "picture.txt").write_bytes(b"PNG\0\0")
    (folder / "old.txt").write_bytes("Füße".encode("latin-1"))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "picture.png").write_bytes(b"\0")
    (folder / "broken.txt").symlink_to(folder / "nowhere")
    with pytest.warns(UserWarning, match="read 60 files") as caught:
        documents = local_documents(folder)
    assert len(documents) == 60
    message = str(caught[0].message)
    for part in ("2 hidden", "1 binary (first: picture.txt)", "1 not UTF-8 (first: old.txt)", "1 empty"):
        assert part in message
    assert caught[0].filename == __file__


def test_a_link_to_a_folder_is_counted_and_not_followed(folder):
    (folder / "again").symlink_to(folder / "0", target_is_directory=True)
    with pytest.warns(UserWarning, match=r"read 60 files, skipped 1 links to folders \(first: again\)"):
        assert len(local_documents(folder)) == 60


def test_a_zero_byte_far_inside_a_file_is_found(tmp_path):
    (tmp_path / "long.txt").write_bytes(b"x" * 200_000 + b"\0")
    with pytest.raises(ValueError, match=r"long\.txt must not hold the byte 0.*at offset 200000"):
        local_documents(tmp_path / "long.txt")


def test_of_a_binary_file_only_the_beginning_is_read(tmp_path):
    (tmp_path / "film.mkv").write_bytes(b"x\0" * 100_000)
    assert len(read_bytes(tmp_path / "film.mkv")) == BLOCK < 200_000


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    (tmp_path / ".notes").mkdir()
    (tmp_path / ".notes" / "a.txt").write_bytes(VERSE)
    assert len(local_documents(tmp_path / ".notes")) == 3


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.txt").write_bytes(VERSE)
    assert len(local_documents("~/a.txt")) == 3


def test_a_missing_path(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"path must be a text file or a folder, got '.*lost\.txt'; no such file"
    ):
        local_documents(tmp_path / "lost.txt")


def test_an_empty_name():
    with pytest.raises(ValueError, match=r"path must name a text file or a folder, got ''; the current folder is '\.'"):
        local_documents("")


@pytest.mark.parametrize("path", [None, 3, b"texts"])
def test_no_path(path):
    with pytest.raises(TypeError, match=f"path must be a str or a Path, got {type(path).__name__}"):
        local_documents(path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(
        ValueError, match=r"path must hold text files that fit the pattern '\*\.txt', got none in .*pattern"
    ):
        local_documents(tmp_path)


def test_a_folder_of_other_files_says_what_was_skipped(tmp_path):
    (tmp_path / "picture.txt").write_bytes(b"PNG\0\0")
    with pytest.raises(ValueError, match=r"got none in .*\(skipped: 1 binary \(first: picture\.txt\)\)"):
        local_documents(tmp_path)


def test_a_pattern_that_fits_nothing(folder):
    for pattern in ("", "0/*.txt"):
        with pytest.raises(ValueError, match=r"got none in .*the pattern is for the name of a file, '\*' fits every"):
            local_documents(folder, pattern)


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"path must hold some text, got the empty file '.*empty\.txt'"):
        local_documents(tmp_path / "empty.txt")


def test_a_file_with_the_byte_zero(tmp_path):
    (tmp_path / "utf16.txt").write_bytes("whale".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"utf16\.txt must not hold the byte 0.*at offset 1; .*convert it to UTF-8"):
        local_documents(tmp_path / "utf16.txt")


def test_a_file_that_is_not_utf8(tmp_path):
    (tmp_path / "latin1.txt").write_bytes("Füße".encode("latin-1"))
    with pytest.raises(ValueError, match=r"UTF-8, got '.*latin1\.txt' with the byte 0xfc at offset 1; save it again"):
        local_documents(tmp_path / "latin1.txt")


def test_a_file_too_small_to_be_cut(tmp_path):
    (tmp_path / "tiny.txt").write_bytes(b"whale")
    with pytest.raises(
        ValueError, match=r"path must hold enough text .*got 5 bytes in .*validation empty.*split='test'"
    ):
        local_documents(tmp_path / "tiny.txt")


def test_an_unknown_split(folder):
    with pytest.raises(ValueError, match="split must be one of train, .*, got 'dev'"):
        local_documents(folder, split="dev")


@pytest.mark.parametrize("whole", [True, False], ids=["file", "folder"])
def test_a_file_that_may_not_be_read(folder, monkeypatch, whole):
    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        PermissionError, match=r"path must be a readable file, got '.*00\.txt' \(Permission denied\); change"
    ):
        local_documents(folder / "0" / "00.txt" if whole else folder)


def test_a_folder_that_may_not_be_read(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=r"path must be a readable folder, got '.*1' \(Permission denied\)"):
        local_documents(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"path must be a text file or a folder, got '.*pipe', which is neither"):
        local_documents(tmp_path / "pipe")


def test_the_python_sources_are_the_standard_library():
    sources = {document.path: document for document in python_sources()}
    assert len(sources) > 300
    assert b"class Fraction" in sources["fractions.py"].text
    assert {document.split for document in sources.values()} == {"train", "validation", "test"}
    assert not any(set(path.split("/")) & {"site-packages", "test", "tests"} for path in sources)
    assert sources["fractions.py"].licence == "PSF-2.0"
    assert sources["json/decoder.py"].split == split_of_path("json/decoder.py")


def test_a_python_without_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "none"))
    with pytest.raises(
        FileNotFoundError, match=r"needs the sources of the standard library, got none in '.*none'; use"
    ):
        python_sources()
