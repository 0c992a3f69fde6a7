"""Files that may be gzipped, read piece by piece: never more than is asked for, whatever a file of some
kilobytes unpacks to.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from prunus.data import limits
from prunus.data.paths import as_file, shown
from prunus.errors import DataError, PrunusError, clause

CHUNK = 1 << 20  # bytes
GZIP = b"\x1f\x8b"
RATIO = 1032  # bytes that deflate makes of one at most


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The bytes of a file, unpacked where it is gzipped, and how many there can be at most.

    Raises DataError, inside the `with` too, for whatever cannot be read: damaged, cut short, a wrong
    checksum, no room in memory.
    """
    as_file(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            packed = file.read(2) == GZIP
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as stream:
                    yield cast(BinaryIO, stream), RATIO * size
            else:
                yield file, size
    except PrunusError:
        raise
    except Exception as error:  # zlib, gzip, tarfile and the file system have errors of many kinds
        raise DataError(f"Cannot read {shown(path)}: {clause(error)}.") from error


def take(stream: BinaryIO, size: int) -> bytearray:
    """The next `size` bytes, or as many as there are; memory grows with what is there, not with what was
    promised.
    """
    content = bytearray()
    while len(content) < size and (piece := stream.read(min(CHUNK, size - len(content)))):
        content += piece
    return content


class Counted:
    """A stream for `tarfile` that goes forward only, refuses to be read in large pieces and ends with an
    error after so many bytes.

    An archive's entries say how long names and attributes are, and `tarfile` reads them at once.
    """

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream, self._most, self._place = stream, most, 0

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or as many as there are."""
        if not 0 <= size <= CHUNK:
            raise DataError(f"It has an entry with a description of {size:,} bytes; {CHUNK:,} are the limit.")
        content = self._stream.read(size)
        self._place += len(content)
        if self._place > self._most:
            raise DataError(f"It unpacks to more than {limits.in_words(self._most)}.")
        return content

    def tell(self) -> int:
        """Bytes read so far."""
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        """Read on until there, or until the end."""
        if whence or place < self._place:
            raise DataError("Its entries do not follow one another.")
        while self._place < place and self.read(min(CHUNK, place - self._place)):
            pass
        return self._place
