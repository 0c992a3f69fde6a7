"""Fetch one published file: checked against its checksum, and in its place only when it is whole."""

from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import IO

from prunus._foundation.atomic import writing
from prunus._foundation.wording import remark
from prunus.data import limits
from prunus.data.paths import AnyPath, as_path, shown
from prunus.errors import DataError, FileFormatError, clause

Progress = Callable[[str, int, int | None], None]
"""Called with what is being read, how much is done and how much there is (bytes of a download, images of a
folder).
"""

CHUNK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without a byte


def fetch(url: str, target: AnyPath, md5: str, progress: Progress | None = None) -> None:
    """Download `url` to `target`.

    The bytes go to a temporary file beside the target, which takes the target's name only when length and
    checksum are right: an interrupted or failed download leaves nothing behind, and whatever lay at the
    target stays.

    Args:
        url: where the file is published.
        target: where it goes; missing folders are made.
        md5: the published checksum, 32 hexadecimal digits.
        progress: called after every chunk with (file name, bytes read, total bytes or None).

    Raises:
        DataError: the server cannot be reached, refuses, or is slower than `limits.PACE` for long; the body
            is cut short, longer than announced or than `limits.DOWNLOAD_BYTES`; or the checksum differs.
    """
    target = as_path(target)
    try:
        with writing(target) as file:
            found = _receive(url, file, target.name, progress)
            if found != md5:
                raise DataError(
                    f"{url} has MD5 {found} instead of the published {md5}: the download was damaged or"
                    " changed."
                )
    except FileFormatError as error:
        raise DataError(f"Cannot write to {shown(target.parent)}: {clause(error)}.") from error
    except OSError as error:
        raise DataError(f"Cannot write {shown(target)}: {error.strerror or clause(error)}.") from error


def _receive(url: str, file: IO[bytes], label: str, progress: Progress | None) -> str:
    """Write the body of `url` to a file and return its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    done, total = 0, None
    for piece, total in _pieces(url):
        file.write(piece)
        digest.update(piece)
        done += len(piece)
        if progress is not None and piece:
            progress(label, done, total)
    if total is not None and done != total:
        raise DataError(f"The download of {url} broke off: {done:,} of {total:,} bytes.")
    return digest.hexdigest()


def _pieces(url: str) -> Iterator[tuple[bytes, int | None]]:
    """The body of `url` piece by piece, each with the length that was announced; the last piece is empty."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            total, done, start = _announced(url, response.headers.get("Content-Length")), 0, time.monotonic()
            piece, more = bytearray(), True
            while more:
                # whatever is there: a slow server must not hold us until a piece is full
                received = response.read1(CHUNK - len(piece))
                more, done = bool(received), done + len(received)
                _check_progress(url, done, time.monotonic() - start)
                piece += received
                if len(piece) == CHUNK or not more:
                    yield bytes(piece), total
                    piece.clear()
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url} answers {error.code} {remark(str(error.reason))}.") from error
    except (
        OSError,
        HTTPException,
        ValueError,
    ) as error:  # URLError, time-outs and broken connections are OSErrors
        reason = remark(str(getattr(error, "reason", None) or error)) or type(error).__name__
        raise DataError(f"Cannot download {url}: {reason}; get it by hand and say where it is.") from error


def _announced(url: str, length: str | None) -> int | None:
    """The length of the body, where the server says it. Raises DataError for more than the limit."""
    if length is None or not (length.isascii() and length.isdecimal()):
        return None
    if len(length) > 15 or int(length) > limits.DOWNLOAD_BYTES:
        raise DataError(
            f"{url} announces {length[:30]} bytes; {limits.in_words(limits.DOWNLOAD_BYTES)} is the limit."
        )
    return int(length)


def _check_progress(url: str, done: int, seconds: float) -> None:
    """Raises DataError for a body that is too long, or that comes too slowly to end in a reasonable time."""
    if done > limits.DOWNLOAD_BYTES:
        raise DataError(
            f"{url} sends more than {limits.in_words(limits.DOWNLOAD_BYTES)}, which is the limit."
        )
    if seconds > TIMEOUT and done < limits.PACE * seconds:
        raise DataError(
            f"{url} sent {limits.in_words(done)} in {seconds:.0f} seconds; try again, or get it by hand and"
            " say where it is."
        )
