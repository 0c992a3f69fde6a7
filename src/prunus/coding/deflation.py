"""Deflate with a dictionary that every reader has: names and graphs of networks are short, and alike."""

from __future__ import annotations

import zlib

from prunus.coding.dictionary import DICTIONARY
from prunus.errors import FileFormatError

_RAW = -15  # deflate without zlib's own header and checksum, with a window of 32 kB
MOST = 1 << 28  # bytes that come out of one section
MOST_TEXT = 1 << 24  # and of one that is JSON, of which Python's objects take some twenty times as much


def deflated(data: bytes) -> bytes:
    """RFC 1951, the dictionary before the data."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9, zdict=DICTIONARY)
    return packer.compress(data) + packer.flush()


def inflated(data: bytes, what: str, most: int = MOST) -> bytes:
    """What was deflated.

    Raises FileFormatError, naming `what` it is, where the data are damaged or give more than `most` bytes.
    """
    unpacker = zlib.decompressobj(_RAW, zdict=DICTIONARY)
    try:
        found = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise FileFormatError(f"Its {what} cannot be inflated ({error}).") from error
    if len(found) > most:
        raise FileFormatError(f"Its {what} would inflate to more than {most:,} bytes.")
    if not unpacker.eof or unpacker.unused_data:
        raise FileFormatError(
            f"The data of its {what} do not end where they should; the file may be truncated."
        )
    return found


__all__ = ["MOST", "MOST_TEXT", "deflated", "inflated"]
