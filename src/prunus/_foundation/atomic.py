"""Files that are there whole or not at all: the one door through which everything is written.

What is being written lies beside its target, under a hidden name that ends in `.prunus-part`, and is held by
a lock of the operating system while its process lives. So whoever writes next can tell what a killed process
left behind, and removes it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from prunus._foundation.oslock import claim
from prunus._foundation.system_faults import no_room
from prunus.errors import FileFormatError, clause

PART = ".prunus-part"
_OLD = 86400.0  # seconds after which a part is taken for left over where the file system knows no locks
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside the target, then rename, so that nobody ever sees half a file.

    A symbolic link is followed, and stays; a file that is replaced keeps its permissions. Renaming makes a
    new file, so that another hard link to the one that was there before keeps the old content.

    Raises FileFormatError if it cannot be written (the disk is full, the folder read-only, there is something
    else than a file); a file that was there before is as it was.
    """
    try:
        with writing(path) as file:
            file.write(content)
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be written ({error.strerror or error}); what was there before is untouched."
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of another when the block ends, as `write_atomically` does; if the block
    fails, nothing has happened.

    Raises FileFormatError if it cannot be made or be given its name; what the block raises comes through.
    """
    real = destination(path)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        sweep(real.parent, real.name)
        handle, temporary = _temporary_file(real)
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be written ({error.strerror or error}); choose another folder."
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            _finish(file, temporary, real, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(real.parent)


def _finish(file: BinaryIO, temporary: Path, real: Path, path: Path) -> None:
    """Bring a file to the disk and give it its name."""
    try:
        file.flush()
        os.fsync(file.fileno())
        keep_permissions(temporary, real)
        if os.name == "nt":
            # an open file cannot be renamed there; elsewhere the lock is kept until it has its name
            file.close()
        temporary.replace(real)
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be written ({error.strerror or error}); what was there before is untouched."
        ) from error


def destination(path: Path) -> Path:
    """The regular file, there or yet to be made, that is meant by a path; links are followed.

    Raises FileFormatError for a pipe, a device, a socket, a folder, or links that lead nowhere but to each
    other.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    except OSError as error:
        why = "its links lead in a circle" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise FileFormatError(f"{path} cannot be written ({why}); choose another file.") from error
    except ValueError as error:  # a name that no system has
        raise FileFormatError(
            f"{str(path)!r} cannot be written ({clause(error)}); choose another file."
        ) from error
    if stat.S_ISREG(mode):
        return Path(os.path.realpath(path))
    kind = next((name for holds, name in _KINDS if holds(mode)), "no regular file")
    raise FileFormatError(
        f"{path} {'leads to' if path.is_symlink() else 'is'} {kind}, which is not replaced: choose another"
        " file to write to."
    )


def put(draft: Path, path: Path) -> None:
    """Give a finished file its place, as `write_atomically` does. Raises FileFormatError, and leaves what was
    there before, if it cannot have it.
    """
    real = destination(path)
    try:
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        keep_permissions(draft, real)
        try:
            draft.replace(real)
        except OSError as error:
            if error.errno != errno.EXDEV:  # a link may lead to another disk
                raise
            with draft.open("rb") as source, writing(real) as target:
                shutil.copyfileobj(source, target)
            draft.unlink()
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be written ({error.strerror or error}); what was there before is untouched."
        ) from error
    sync_folder(real.parent)


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """A folder beside a file's place, for drafts that `put` then brings there; it is gone when the block
    ends.

    Raises FileFormatError if the file cannot be written, or the disk takes no more drafts.
    """
    real = destination(path)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        sweep(real.parent, real.name)
        folder = _hidden(real)
        folder.mkdir()
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be written ({error.strerror or error}); choose another folder."
        ) from error
    handle = None if os.name == "nt" else os.open(folder, os.O_RDONLY)
    try:
        if handle is not None:
            claim(handle)
        yield folder
    except OSError as error:
        if (full := no_room(error)) is None:
            raise
        raise FileFormatError(
            f"{path} cannot be written ({full.strerror or full}): make room there, or choose another folder."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left of files that they were writing in a folder, or of one file; what
    living ones write stays.
    """
    start = "." if name is None else _start(name)
    with suppress(OSError), os.scandir(folder) as entries:
        for path in [
            Path(entry.path)
            for entry in entries
            if entry.name.startswith(start) and entry.name.endswith(PART)
        ]:
            _remove_dead(path)


def _remove_dead(path: Path) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            free = claim(handle)
            if free or (free is None and time.time() - path.stat().st_mtime > _OLD):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(handle)


def keep_permissions(draft: Path, real: Path) -> None:
    """Give a file the permissions of the one that it replaces, and its owner where that is allowed."""
    with suppress(FileNotFoundError):
        before, now = real.stat(), draft.stat()
        if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
            with suppress(OSError):
                os.chown(draft, before.st_uid, before.st_gid)
        draft.chmod(stat.S_IMODE(before.st_mode))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _temporary_file(real: Path) -> tuple[int, Path]:
    """A new file beside another, open and held; nobody but its owner reads it where that
    is so of the other.
    """
    mode = 0o600 if real.exists() else 0o666  # less what the process's umask takes away
    while True:
        path = _hidden(real)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), mode)
        if claim(handle) is not False and path.exists():
            return handle, path
        os.close(handle)  # somebody who was sweeping came in between


def _start(name: str) -> str:
    """How the hidden names for a file begin; long names are cut, since a name has 255 bytes."""
    return f".{name.encode()[:100].decode(errors='ignore')}."


def _hidden(real: Path) -> Path:
    return real.with_name(f"{_start(real.name)}{secrets.token_hex(4)}{PART}")
