"""What the operating system refused, found at the bottom of errors that libraries wrap around it: a full disk
is not the fault of the network that is being exported, nor a lack of memory that of the file that is read.
"""

from __future__ import annotations

import errno
from pathlib import Path

from prunus.errors import FileFormatError


def _numbers(*names: str) -> frozenset[int]:
    """Those that this system knows."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_NO_ROOM = _numbers("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO")
_REFUSED = _NO_ROOM | _numbers("EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "EISDIR")


def refused(error: BaseException) -> OSError | MemoryError | None:
    """The error of the system that is, or has led to, another one; None where it is of another kind. That a
    file is not there is no refusal, nor that a reader was led astray in it, to a place before its beginning.
    """
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        if isinstance(found, MemoryError):
            return found
        if isinstance(found, OSError) and found.errno in _REFUSED:
            return found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return None


def no_room(error: BaseException) -> OSError | None:
    """Likewise, of a disk that takes no more: it is full, broken, or cannot be written to."""
    found = refused(error)
    return found if isinstance(found, OSError) and found.errno in _NO_ROOM else None


def check_readable(path: Path, error: BaseException) -> None:
    """Of an error while a file was read: raises FileFormatError where the system does not give it, and
    MemoryError where there is too little memory for it; otherwise the file is to blame.
    """
    found = refused(error)
    if isinstance(found, MemoryError):
        raise found
    if found is None:
        try:  # readers that are not written in Python call every refusal a file that is not there
            path.open("rb").close()
        except OSError as denied:
            found = denied
    if found is not None:
        raise FileFormatError(f"{path} cannot be read ({found.strerror or found}).") from error


__all__ = ["check_readable", "no_room", "refused"]
