"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import FileFormatError


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside the target, then rename, so that nobody ever sees half a file.

    Raises FileFormatError if it cannot be written (the disk is full, the folder read-only); a file that was there before is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise FileFormatError(f"{path} cannot be written ({error.strerror or error}); choose another folder.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise FileFormatError(f"{path} cannot be written ({error.strerror or error}); what was there before is untouched.") from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
