"""Locks of the operating system on open files: they end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
import sys

if sys.platform == "win32":
    import msvcrt

    _HELD = (errno.EACCES, errno.EDEADLK)
    _BYTE = 1 << 30  # far behind what the file says, which others may then still read

    def _claim(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    _HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)

    def _claim(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def claim(handle: int) -> bool | None:
    """Hold an open file until it is closed: True; False where another one holds it, None where the file
    system knows no locks.
    """
    try:
        _claim(handle)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True
