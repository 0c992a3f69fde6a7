"""Small whole numbers, texts and lists of them as bytes: seven bits of a number in each byte, the lowest
first, the eighth bit where another byte follows.
"""

from __future__ import annotations

from prunus.errors import FileFormatError

_LONGEST = 9  # bytes of a number: 63 bits


def number(value: int) -> bytes:
    """A whole number from 0 to 2^63 - 1."""
    if not 0 <= value < 1 << 7 * _LONGEST:
        raise ValueError(f"{value} is no number from 0 to 2^63 - 1.")
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes((*found, value))


def signed(value: int) -> bytes:
    """A whole number of either sign: 0, -1, 1, -2, 2 as 0, 1, 2, 3, 4."""
    return number(2 * value if value >= 0 else -2 * value - 1)


def text(value: str) -> bytes:
    """Its length in bytes, and the text in UTF-8."""
    found = value.encode()
    return number(len(found)) + found


class Fields:
    """Bytes that are read from the front. Every method raises FileFormatError where they end too early.

    Args:
        data: the bytes.
        what: they are, as a sentence goes on: "table of tensors".
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._place, self._what = data, 0, what

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._data) - self._place

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise FileFormatError(f"Its {self._what} ends too early; the file may be truncated.")
        self._place += count
        return self._data[self._place - count : self._place]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def number(self, most: int = (1 << 7 * _LONGEST) - 1) -> int:
        """A number as `number` writes it. Raises FileFormatError where it is larger than `most`."""
        value = 0
        for shift in range(0, 7 * _LONGEST, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                break
        else:
            raise FileFormatError(f"Its {self._what} holds a number of more than 63 bits.")
        if value > most:
            raise FileFormatError(f"Its {self._what} holds {value:,} where at most {most:,} can be.")
        return value

    def signed(self) -> int:
        """A number as `signed` writes it."""
        value = self.number()
        return -(value + 1) // 2 if value & 1 else value // 2

    def text(self) -> str:
        """A text as `text` writes it."""
        try:
            return self.take(self.number(self.left)).decode()
        except UnicodeDecodeError as error:
            raise FileFormatError(f"Its {self._what} holds a text that is no UTF-8.") from error

    def end(self) -> None:
        """Raise FileFormatError where anything is left."""
        if self.left:
            raise FileFormatError(f"Its {self._what} has {self.left:,} bytes too many.")


__all__ = ["Fields", "number", "signed", "text"]
