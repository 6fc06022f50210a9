import hashlib
import http.server
import inspect
import io
import re
import socket
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from megalodon_edu.data import enwik8
from megalodon_edu.data.download import download

TEXT = (
    "".join(f"<page>whale {number}</page>\n" for number in range(20_000)).encode()
    + np.random.default_rng(0).integers(1, 128, 300_000, dtype=np.uint8).tobytes()
)


def pack(texts):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return packed.getvalue()


ZIP = pack({"enwik8": TEXT})
SIZE, SHA256 = len(ZIP), hashlib.sha256(ZIP).hexdigest()


@dataclass
class Site:
    """A local server for one file: what it sends is set by the test, what it was asked is remembered."""

    content: bytes = ZIP
    ranges: bool = True
    status: int | None = None
    announce: bool = True
    stop_after: int | None = None
    silent: bool = False
    false_range: str | None = None
    redirect: str | None = None
    asked: list[str | None] = field(default_factory=list)
    address: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, request):
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if self.silent:
            self.over.wait(20)
            return
        if self.redirect and request.path != self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.ranges else 0
        status = self.status or (206 if start else 200)
        request.send_response(status)
        if status == 206:
            given = self.false_range or f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
            request.send_header("Content-Range", given)
        if self.announce:
            request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        request.wfile.write(self.content[start : self.stop_after])


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    served = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            served.answer(self)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}/enwik8.zip"
    yield served
    served.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(site, folder):
    return enwik8(folder, url=site.address, size=SIZE, sha256=SHA256)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_full_download_and_its_three_splits(site, tmp_path, capsys):
    folder = tmp_path / "new" / "cache"
    train, validation, test = fetch(site, folder)
    assert site.asked == [None]
    assert names(folder) == ["enwik8.zip"]
    assert (folder / "enwik8.zip").read_bytes() == ZIP
    assert [piece.split for piece in (train, validation, test)] == ["train", "validation", "test"]
    assert train.text == TEXT[: len(TEXT) * 90 // 100]
    assert train.text + validation.text + test.text == TEXT
    assert abs(validation.size - len(TEXT) / 20) <= 1 and abs(test.size - len(TEXT) / 20) <= 1
    assert train.source == site.address
    assert "enwik8.zip: 100%" in capsys.readouterr().err


def test_the_second_call_asks_nobody(site, tmp_path):
    first = fetch(site, tmp_path)
    assert fetch(site, tmp_path) == first
    assert len(site.asked) == 1


def test_the_defaults_are_those_of_enwik8(tmp_path, monkeypatch):
    defaults = {name: p.default for name, p in inspect.signature(enwik8).parameters.items()}
    assert defaults == {
        "folder": None,
        "url": "http://mattmahoney.net/dc/enwik8.zip",
        "size": 36_445_475,
        "sha256": "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
    }
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "megalodon-edu").mkdir()
    (tmp_path / "megalodon-edu" / "enwik8.zip").write_bytes(ZIP)
    assert b"".join(piece.text for piece in enwik8(sha256=SHA256)) == TEXT


def test_a_partial_file_is_resumed(site, tmp_path):
    (tmp_path / "enwik8.zip.part").write_bytes(ZIP[:10_000])
    train, *_ = fetch(site, tmp_path)
    assert site.asked == ["bytes=10000-"]
    assert TEXT.startswith(train.text)
    assert names(tmp_path) == ["enwik8.zip"]


def test_a_server_without_ranges_starts_again(site, tmp_path):
    site.ranges = False
    (tmp_path / "enwik8.zip.part").write_bytes(b"x" * 10_000)
    fetch(site, tmp_path)
    assert site.asked == ["bytes=10000-"]
    assert (tmp_path / "enwik8.zip").read_bytes() == ZIP


def test_a_complete_partial_file_needs_no_server(site, tmp_path):
    (tmp_path / "enwik8.zip.part").write_bytes(ZIP)
    fetch(site, tmp_path)
    assert site.asked == []


def test_a_partial_file_that_is_too_long_is_dropped(site, tmp_path):
    (tmp_path / "enwik8.zip.part").write_bytes(ZIP + b"more")
    fetch(site, tmp_path)
    assert site.asked == [None]


def test_wrong_content_is_removed_and_the_next_call_succeeds(site, tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"mine")
    site.content = ZIP[:-1] + b"?"
    with pytest.raises(
        ValueError, match=f"url must deliver a file with the SHA-256 {SHA256}, got .* is removed, call again"
    ):
        fetch(site, tmp_path)
    assert names(tmp_path) == ["mine.txt"]
    site.content = ZIP
    fetch(site, tmp_path)
    assert names(tmp_path) == ["enwik8.zip", "mine.txt"]


def test_the_wrong_start_of_a_file_is_found_out(site, tmp_path):
    (tmp_path / "enwik8.zip.part").write_bytes(b"x" * 10_000)
    with pytest.raises(ValueError, match="SHA-256"):
        fetch(site, tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("announce", [True, False])
def test_a_transfer_that_breaks_off_goes_on_at_the_next_call(site, tmp_path, announce):
    site.stop_after, site.announce = 100_000, announce
    with pytest.raises(ConnectionError, match=f"stopped after 100000 of {SIZE} bytes.*they are kept, call again"):
        fetch(site, tmp_path)
    assert (tmp_path / "enwik8.zip.part").read_bytes() == ZIP[:100_000]
    assert names(tmp_path) == ["enwik8.zip.part"]
    site.stop_after = None
    fetch(site, tmp_path)
    assert site.asked == [None, "bytes=100000-"]
    assert (tmp_path / "enwik8.zip").read_bytes() == ZIP


def test_an_interruption_from_the_keyboard_leaves_what_has_arrived(site, tmp_path, monkeypatch):
    def interrupt(bar, n=1):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tqdm, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(site, tmp_path)
    kept = (tmp_path / "enwik8.zip.part").read_bytes()
    assert 0 < len(kept) < SIZE and ZIP.startswith(kept)
    fetch(site, tmp_path)
    assert site.asked == [None, f"bytes={len(kept)}-"]


def test_a_silent_server(site, tmp_path):
    site.silent = True
    with pytest.raises(ConnectionError, match="could not be fetched .*timed out.*; check the network and call again"):
        download(site.address, tmp_path / "enwik8.zip", SIZE, SHA256, timeout=0.1)
    assert names(tmp_path) == []


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/enwik8.zip"
        with pytest.raises(
            ConnectionError, match=r"url http://127\.0\.0\.1.* could not be fetched .*put the file at '.*zip'"
        ):
            enwik8(tmp_path, url=address)


@pytest.mark.parametrize("status", [404, 416, 500])
def test_a_server_that_refuses(site, tmp_path, status):
    site.status = status
    with pytest.raises(ConnectionError, match=f"could not be fetched .*{status}"):
        fetch(site, tmp_path)


def test_a_file_of_another_size_is_refused_before_it_is_fetched(site, tmp_path):
    site.content = b"<html>Please log in</html>"
    with pytest.raises(ValueError, match=f"url must deliver {SIZE} bytes, got 26 .*log-in page"):
        fetch(site, tmp_path)
    assert names(tmp_path) == []


def test_another_range_than_asked_is_refused(site, tmp_path):
    site.false_range = "bytes 9-99/100"
    (tmp_path / "enwik8.zip.part").write_bytes(ZIP[:10_000])
    with pytest.raises(
        ConnectionError, match=r"must answer with the bytes from 10000 on, got status 206 and .*'bytes 9-99"
    ):
        fetch(site, tmp_path)
    assert (tmp_path / "enwik8.zip.part").read_bytes() == ZIP[:10_000]


def test_another_file_of_that_name_is_left_alone(site, tmp_path):
    (tmp_path / "enwik8.zip").write_bytes(b"mine")
    with pytest.raises(
        ValueError, match=r"target '.*enwik8\.zip' must have the SHA-256 .*; move it away and call again"
    ):
        fetch(site, tmp_path)
    assert (tmp_path / "enwik8.zip").read_bytes() == b"mine"


def test_a_folder_in_the_place_of_the_file(site, tmp_path):
    (tmp_path / "enwik8.zip").mkdir()
    with pytest.raises(
        IsADirectoryError, match=r"target must be a file, got the folder '.*enwik8\.zip'; choose another"
    ):
        fetch(site, tmp_path)


def test_a_file_in_the_place_of_the_folder(site, tmp_path):
    (tmp_path / "cache").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError, match="folder must be a folder, got the file '.*cache'; name the folder"):
        fetch(site, tmp_path / "cache")


@pytest.mark.parametrize("texts", [{}, {"a": b"x", "b": b"y"}], ids=["none", "two"])
def test_a_zip_of_other_than_one_file(site, tmp_path, texts):
    site.content = pack(texts)
    sha256 = hashlib.sha256(site.content).hexdigest()
    with pytest.raises(ValueError, match=f"url must deliver a zip of one file, got {len(texts)} files"):
        enwik8(tmp_path, site.address, len(site.content), sha256)


def test_a_text_with_the_byte_zero(site, tmp_path):
    site.content = pack({"enwik8": b"x" * 95 + b"\0" + b"x" * 4})
    sha256 = hashlib.sha256(site.content).hexdigest()
    with pytest.raises(ValueError, match="enwik8 must not hold the byte 0.*at offset 0"):
        enwik8(tmp_path, site.address, len(site.content), sha256)


@pytest.mark.parametrize("url", ["", "enwik8.zip", "file:///enwik8.zip", "ftp://books/enwik8.zip"])
def test_an_address_that_is_none(tmp_path, url):
    with pytest.raises(ValueError, match=f"url must begin with http:// or https://, got {url!r}"):
        enwik8(tmp_path, url=url)


def test_a_folder_that_may_not_be_written_to(site, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(
            PermissionError, match=r"folder must be one that can be made, got '.*new' \(.*; choose another"
        ):
            fetch(site, tmp_path / "new")
        patch.setattr(Path, "mkdir", lambda *arguments, **options: None)
        patch.setattr(Path, "open", refuse)
        with pytest.raises(PermissionError, match=r"folder must be one that may be written to, got .*; choose another"):
            fetch(site, tmp_path)
    fetch(site, tmp_path)


def test_a_redirected_download_is_resumed(site, tmp_path):
    site.redirect = "/moved.zip"
    (tmp_path / "enwik8.zip.part").write_bytes(ZIP[:10_000])
    fetch(site, tmp_path)
    assert site.asked == ["bytes=10000-", "bytes=10000-"]
    assert (tmp_path / "enwik8.zip").read_bytes() == ZIP
