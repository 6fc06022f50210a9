"""Fetch a file over HTTP: checked, resumed where it was interrupted, and never half there."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO, Literal

from tqdm import tqdm

BLOCK = 1 << 16


def download(url: str, target: Path, size: int, sha256: str, timeout: float = 30.0) -> Path:
    """Fetch `url` into the file `target` and return it; a file already there is only checked.

    Bytes arrive in `target` + ".part". After an interruption that file stays, and the next call asks the server for
    the rest. `target` itself appears at once, when size and SHA-256 are right. `timeout` limits, in seconds, how long
    the server may stay silent.

    Raises ConnectionError if the server cannot be reached or stops early, PermissionError if the folder may not be
    written to, ValueError if the content is not the one expected (the part file is then removed: its bytes are of no
    use), if `target` is another file already, or if `url` is no address on the web.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url must begin with http:// or https://, got {url!r}")
    if target.is_dir():
        raise IsADirectoryError(f"target must be a file, got the folder {str(target)!r}; choose another folder for it")
    if target.exists():
        found = sha256_of(target)
        if found != sha256:
            raise ValueError(
                f"target {str(target)!r} must have the SHA-256 {sha256}, got {found}: it is damaged or another file; "
                "move it away and call again"
            )
        return target
    part = target.with_name(target.name + ".part")
    if part.exists() and part.stat().st_size > size:
        part.unlink()
    if not part.exists() or part.stat().st_size < size:
        receive(url, part, target, size, timeout)
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise ValueError(
            f"url must deliver a file with the SHA-256 {sha256}, got {found} from {url}; what was received is removed, "
            f"call again, or put the right file at {str(target)!r} yourself"
        )
    os.replace(part, target)
    return target


def receive(url: str, part: Path, target: Path, size: int, timeout: float) -> None:
    """Append to the part file the bytes it lacks, up to `size`."""
    start = part.stat().st_size if part.exists() else 0
    try:
        response = urllib.request.urlopen(request_from(url, start), timeout=timeout)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"url {url} could not be fetched ({error}); check the network and call again, "
            f"or put the file at {str(target)!r} yourself"
        ) from error
    with response:
        start = first_byte(response, url, start)
        require_size(response, url, start, size)
        # A server that ignores the range sends everything: then the part file begins anew.
        with (
            open_part(part, "ab" if start else "wb") as file,
            tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=target.name) as bar,
        ):
            received = start
            while received < size:
                try:
                    block = response.read(min(BLOCK, size - received))
                except (OSError, http.client.HTTPException) as error:
                    raise stopped(url, received, size, str(error)) from error
                if not block:
                    raise stopped(url, received, size, "the connection was closed")
                file.write(block)
                received += len(block)
                bar.update(len(block))


def open_part(part: Path, mode: Literal["ab", "wb"]) -> BinaryIO:
    """Open the part file to write; an error says what to do about it."""
    try:
        return part.open(mode)
    except OSError as error:
        raise type(error)(
            f"folder must be one that may be written to, got {str(part.parent)!r} ({error.strerror}); choose another"
        ) from error


def request_from(url: str, start: int) -> urllib.request.Request:
    """Return the request for everything from the byte `start` on."""
    return urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})


def first_byte(response: http.client.HTTPResponse, url: str, asked: int) -> int:
    """Return the offset of the first byte the server sends: the one asked for, or 0 if it ignores ranges."""
    if response.status == 200:
        return 0
    given = response.headers.get("Content-Range", "")
    match = re.match(r"bytes (\d+)-", given)
    if response.status != 206 or match is None or int(match[1]) != asked:
        raise ConnectionError(
            f"url {url} must answer with the bytes from {asked} on, got status {response.status} and the range "
            f"{given!r}; delete the .part file and call again"
        )
    return asked


def require_size(response: http.client.HTTPResponse, url: str, start: int, size: int) -> None:
    """Raise ValueError if the server announces a file of another size."""
    announced = response.headers.get("Content-Length")
    if announced is not None and start + int(announced) != size:
        kind = response.headers.get("Content-Type", "no type")
        raise ValueError(
            f"url must deliver {size} bytes, got {start + int(announced)} ({kind}) from {url}; "
            "a small page of text is often a log-in page of the network"
        )


def stopped(url: str, received: int, size: int, reason: str) -> ConnectionError:
    """Return the error for a transfer that broke off."""
    return ConnectionError(
        f"url {url} stopped after {received} of {size} bytes ({reason}); they are kept, call again to go on from there"
    )


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
