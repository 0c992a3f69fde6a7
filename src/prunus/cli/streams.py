"""What output goes to: terminals and logs that lack characters, pipes that nobody reads any more, disks that
are full.
"""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from prunus._foundation.wording import printable
from prunus.errors import FileFormatError

PLAIN = "prunus.plain"  # the name of the error handler
STAND_INS = {
    "×": "x", "→": "->", "–": "-", "—": "-", "−": "-", "…": "...", "±": "+/-", "·": "-", "•": "*", "✓": "+",
    "≤": "<=", "≥": ">=", "≈": "~", "µ": "u", "μ": "u", "“": '"', "”": '"', "‘": "'", "’": "'",
    "│": "|", "─": "-", "━": "-", "╸": "-", "╺": "-",
    "╭": "+", "╮": "+", "╰": "+", "╯": "+", "\u202f": " ", "\u2009": " ", "\u2007": " ", "\u00a0": " ",
    "\u2060": "", "\u200b": "",
}  # fmt: skip


def plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: what looks like them, letters without their accents,
    and otherwise a question mark.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = "".join(_stand_in(character) for character in error.object[error.start : error.end])
    try:
        text.encode(error.encoding)
    except UnicodeEncodeError:
        text = text.encode("ascii", "replace").decode()
    return text, error.end


def _stand_in(character: str) -> str:
    if character in STAND_INS:
        return STAND_INS[character]
    if "\u2800" <= character <= "\u28ff":  # the dots of a spinner
        return "*"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


codecs.register_error(PLAIN, plain)


def prepare() -> None:
    """Let both streams take every character, and let there be both: what was closed before the start swallows
    what is written to it.
    """
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open until the end)
        elif hasattr(stream, "reconfigure"):
            with suppress(ValueError, OSError):  # a stream that was closed
                stream.reconfigure(errors=PLAIN)


@contextmanager
def written() -> Iterator[None]:
    """Around what writes to stdout: it is written when this ends.

    Raises FileFormatError where it cannot be, and BrokenPipeError where nobody reads it any more.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> FileFormatError:
    """What to say of output that cannot be written."""
    return FileFormatError(f"The output cannot be written ({error.strerror or error}).")


def finish() -> OSError | None:
    """Write what is left to write, and give back why that failed; afterwards nothing is left that could fail
    at the very end.
    """
    found: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except OSError as error:
            found = found or (error if stream is sys.stdout else None)
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return found


def say(text: str) -> None:
    """A line on stderr, if it can be written."""
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)
