"""Temporary folders, whose faults are told as theirs and not as those of what was being made in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from prunus._foundation.system_faults import no_room
from prunus.errors import FileFormatError

_ELSEWHERE = "make room there, or set TMPDIR to another folder"


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder that is gone when the block ends.

    Raises FileFormatError if the system has none, or its disk takes no more.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="prunus-")
    except OSError as error:
        raise FileFormatError(
            f"There is no folder for temporary files ({error.strerror or error}): set TMPDIR to one that can"
            " be written to."
        ) from error
    with folder as name:
        try:
            yield name
        except OSError as error:
            if (full := no_room(error)) is None:
                raise
            raise FileFormatError(
                f"Temporary files cannot be written to {tempfile.gettempdir()} ({full.strerror or full}):"
                f" {_ELSEWHERE}."
            ) from error


__all__ = ["scratch_folder"]
