"""Which lines of code are the user's: those at which a forward is said to do, or to fail at, something."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path

import torch

_ROOMS = [Path(__file__).parents[1] / room for room in ("_foundation", "paint", "plans", "surgery")]
_FOLDERS = (Path(torch.__file__).parent, *_ROOMS)
# Where files begin whose lines are not the user's: torch's, those that paint or rehearse, what lies between
# them, and what has none.
NOT_USERS = (*(f"{folder}{os.sep}" for folder in _FOLDERS), contextlib.__file__, "<")


def deepest_line(error: BaseException) -> str:
    """The last of the user's lines that an error came through, with its file and number; "its call" where
    it came through none.
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_USERS)]
    if not frames:
        return "its call"
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}: {frames[-1].line}"
