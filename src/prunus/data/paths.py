"""Paths as users give them, texts or path objects, and what is said of those that are not what they should
be.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from prunus._foundation.wording import escaped
from prunus.errors import DataError, clause

AnyPath = str | os.PathLike[str]


def as_path(path: AnyPath) -> Path:
    """A path object. Raises DataError for what is neither text nor path."""
    try:
        return Path(path)
    except TypeError as error:
        raise DataError(f"A path is a text or a path object, not {path!r}.") from error


def shown(path: AnyPath) -> str:
    """A path as one line that any terminal can print: line breaks, control characters and broken text are
    written as escapes.
    """
    return escaped(os.fspath(path), str.isprintable)


def as_folder(path: AnyPath) -> Path:
    """A folder that is there. Raises DataError for none, and for a file in its place."""
    folder = as_path(path)
    if is_there(folder) and not is_folder(folder):
        raise DataError(f"{shown(folder)} is a file; a folder is needed.")
    if not is_folder(folder):
        raise DataError(f"There is no folder {shown(folder)}.")
    return folder


def as_file(path: AnyPath, what: str = "file") -> Path:
    """A regular file that is there. Raises DataError for none, for a folder, a pipe or a device, and for a
    link to itself.
    """
    file = as_path(path)
    if is_folder(file):
        raise DataError(f"{shown(file)} is a folder; a file is needed.")
    if not is_file(file):
        raise DataError(
            f"There is no {what} {shown(file)}."
            if not is_there(file)
            else f"{shown(file)} is no regular file."
        )
    return file


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, in the order of the names. Raises DataError where it cannot be listed."""
    try:
        return sorted(as_folder(folder).iterdir())
    except OSError as error:
        raise DataError(
            f"The folder {shown(folder)} cannot be listed ({error.strerror or clause(error)})."
        ) from error


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, in the order of the paths. Raises DataError where a folder cannot be listed,
    and for links to folders elsewhere: links are not followed, as they may lead in circles.
    """

    def refuse(error: OSError) -> None:
        raise DataError(
            f"The folder {shown(error.filename or folder)} cannot be listed"
            f" ({error.strerror or clause(error)})."
        ) from error

    found, home = list[Path](), folder.resolve()
    for place, folders, names in os.walk(as_folder(folder), onerror=refuse):
        for linked in (Path(place, name) for name in folders):
            if linked.is_symlink() and not _around(home, linked.resolve()):
                raise DataError(
                    f"{shown(linked)} is a link to a folder, which is not followed: put the files themselves"
                    " there, or remove it."
                )
        found += [Path(place, name) for name in names]
    return sorted(found)


def _around(one: Path, other: Path) -> bool:
    """Whether one of two folders lies in the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def is_folder(path: Path) -> bool:
    """Whether there is a folder that may be looked at; a name that no file system takes is none."""
    return _asked(path, os.path.isdir)


def is_file(path: Path) -> bool:
    """Whether there is a regular file that may be looked at."""
    return _asked(path, os.path.isfile)


def is_there(path: Path) -> bool:
    """Whether there is anything of that name, a link to nowhere included."""
    return _asked(path, os.path.lexists)


def check_link(path: Path) -> None:
    """Raises DataError for a link to what is not there: samples would be left out in silence."""
    if path.is_symlink() and not _asked(path, os.path.exists):
        raise DataError(f"{shown(path)} is a link to nowhere: mend it, or remove it.")


def _asked(path: Path, question: Callable[[Path], bool]) -> bool:
    try:
        return question(path)
    except (OSError, ValueError):  # a zero byte in a name, half a character
        return False
