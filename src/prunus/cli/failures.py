"""What to say of errors that come from elsewhere."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import traceback
from pathlib import Path

from prunus._foundation.wording import ends_of
from prunus.errors import clause

_LIBRARIES = tuple(str(Path(sysconfig.get_path(name))) + os.sep for name in ("stdlib", "purelib", "platlib"))
LONGEST = 200  # characters of a path that are shown
MEMORY = (
    "can't allocate memory",
    "out of memory",
    "not enough memory",
    "Storage size calculation overflowed",
)


def out_of_memory(error: BaseException, shape: str) -> str | None:
    """What to say where memory was lacking; None of all other errors. `shape` is the input shape that was
    given, if any.
    """
    if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in MEMORY):
        return None
    smaller = (
        f"give a smaller --input-shape than {shape}"
        if shape
        else "give a smaller --input-shape, or fewer samples at a time"
    )
    return f"There is not enough memory for this: {smaller}."


def unusable(error: OSError) -> str:
    """What to say of a file that the system does not give."""
    if error.filename is None:  # as where a disk is full
        return f"{error.strerror or clause(error)}: a file cannot be read or written."
    return f"{error.strerror or clause(error)}: {ends_of(str(error.filename), LONGEST)}."


def unknown(error: BaseException) -> str:
    """What to say of an error that nobody thought of."""
    return (
        in_model(error)
        or in_own_code(error)
        or f"{type(error).__name__}: {clause(error)} (an error that prunus does not know; --debug shows "
        "where)."
    )


def in_model(error: BaseException) -> str | None:
    """What to say where a model's own code failed while it ran, or was called with other arguments than it
    takes; None where the error came from elsewhere.
    """
    every = traceback.extract_tb(error.__traceback__)
    if isinstance(error, TypeError) and every and every[-1].name == "_call_impl":
        return (
            f"The model takes other arguments than it is given ({clause(error)}): without --data these are"
            " what its plan was made with, or one tensor of --input-shape."
        )
    frames = [frame for frame in every if not frame.filename.startswith((_folder("torch"), "<"))]
    ran = any(frame.name == "_call_impl" for frame in every)
    if (
        not ran
        or not frames
        or (frames[-1].filename.startswith(_folder("prunus")) and frames[-1].name != "forward")
    ):
        return None
    return f"The model fails when it is run, {_at(frames[-1], error)}; check its input shape."


def in_own_code(error: BaseException) -> str | None:
    """What to say where a function of the user's failed, such as a metric or a loader; None where the error
    came from prunus, or from a library that it called.
    """
    ours = _folder("prunus")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(ours) or not frame.filename.startswith((*_LIBRARIES, "<"))
    ]
    if not frames or frames[-1].filename.startswith(ours):
        return None
    return f"Code outside prunus fails, {_at(frames[-1], error)}; --debug shows what called it."


def _at(frame: traceback.FrameSummary, error: BaseException) -> str:
    """Where a line failed, and how."""
    first = clause(ValueError(next(iter(str(error).strip().splitlines()), "no message")))
    return f"at {Path(frame.filename).name}:{frame.lineno}: {frame.line} ({type(error).__name__}: {first})"


def _folder(package: str) -> str:
    found = sys.modules.get(package)
    return str(Path(found.__file__).parent) + os.sep if found is not None and found.__file__ else "<"


def one_line(text: str) -> str:
    """A text as a terminal may show it: a sentence in one line, and what controls terminals written out, as
    it may come from a file.
    """
    text = re.sub(r"([.?!])\.+$", r"\1", " ".join(text.split()))
    text = text if text.endswith((".", "?", "!")) else f"{text}."
    return "".join(one if one.isprintable() or one == " " else repr(one)[1:-1] for one in text)
