"""Fetch one published file: checked against its checksum, and in its place only when it is whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import IO

from prunus.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""Called with what is being read, how much is done and how much there is (bytes of a download, images of a folder)."""

CHUNK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without a byte


def fetch(url: str, target: Path, md5: str, progress: Progress | None = None) -> None:
    """Download `url` to `target`.

    The bytes go to a temporary file beside the target, which takes the target's name only when length and checksum are
    right: an interrupted or failed download leaves nothing behind, and whatever lay at the target stays.

    Args:
        url: where the file is published.
        target: where it goes; missing folders are made.
        md5: the published checksum, 32 hexadecimal digits.
        progress: called after every chunk with (file name, bytes read, total bytes or None).

    Raises:
        DataError: the server cannot be reached or refuses, the body is cut short, or the checksum differs.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise DataError(f"Cannot write to {target.parent}: {error.strerror or error}.") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            found = _receive(url, file, target.name, progress)
        if found != md5:
            raise DataError(f"{url} has MD5 {found} instead of the published {md5}: the download was damaged or changed.")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _receive(url: str, file: IO[bytes], label: str, progress: Progress | None) -> str:
    """Write the body of `url` to a file and return its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdecimal() else None
            while chunk := response.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(label, done, total)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url} answers {error.code} {error.reason}.") from error
    except (OSError, HTTPException) as error:  # URLError, time-outs and broken connections are OSErrors
        reason = getattr(error, "reason", None) or error
        raise DataError(f"Cannot download {url}: {reason}; get it by hand and say where it is.") from error
    if total is not None and done != total:
        raise DataError(f"The download of {url} broke off: {done:,} of {total:,} bytes.")
    return digest.hexdigest()
