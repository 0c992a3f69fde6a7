"""One writer at a time: locks on folders and files that end with their process, even if it is killed.

The lock is a file, `.prunus.lock`, that the run holds open; the operating system frees it when the process
ends. It says which process holds it, and is removed afterwards. Where a file system knows no such locks (some
network file systems) runs go on without.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prunus._foundation.atomic import destination, sweep
from prunus._foundation.launch import launch
from prunus._foundation.oslock import claim
from prunus._foundation.wording import ends_of
from prunus.errors import ConfigError, FileFormatError, clause
from prunus.storage import fileset

FILE = ".prunus.lock"
_PATIENCE = 5.0  # seconds that a living run may need to bring written files to their places
_LONGEST = 300  # characters of a command, or of a path, that are shown

_held: dict[Path, tuple[int, int]] = {}  # lock file -> thread that holds it, open file
_guard = threading.Lock()


@contextmanager
def folder_lock(folder: Path | str) -> Iterator[None]:
    """Be the only run that writes into a folder; what killed runs left in it is finished or removed first.

    The folder is made if it is not there, and removed if nothing has come into it. Within a lock of the same
    thread it does nothing. Of the processes that torchrun starts together the first one holds the lock for
    all.

    Raises:
        ConfigError: another run writes into the folder; or it cannot be made or written to.
        FileFormatError: what a killed run left cannot be finished.
    """
    folder = Path(folder)
    if not launch().first:
        yield
        return
    check_folder(folder)
    made = _make(folder)
    try:
        with _lock(folder / FILE, folder) as new:
            if new:
                _tidy(folder)
            yield
    finally:
        for one in made:
            with suppress(OSError):  # something has come into it
                one.rmdir()


@contextmanager
def file_lock(path: Path | str) -> Iterator[None]:
    """Be the only one that writes a file and what belongs to it.

    Raises ConfigError if another run writes it, or its folder cannot be made or written to.
    """
    path = Path(path)
    check_folder(path.parent)
    _make(path.parent)
    with _lock(path.with_name(f".{path.name}{FILE}"), path):
        yield


def settle(folder: Path | str) -> None:
    """Before a folder is read: bring files to their places that a killed run had written, and wait for a
    living one that is just doing so.

    Raises FileFormatError if that cannot be done.
    """
    folder, until = Path(folder), time.monotonic() + _PATIENCE
    try:
        fileset.pending(folder)
    except OSError as error:
        raise FileFormatError(f"{folder} cannot be read ({error.strerror or error}).") from error
    while fileset.pending(folder):
        try:
            with folder_lock(folder):
                return
        except ConfigError as error:
            if time.monotonic() > until:
                text = (
                    f"{folder} cannot be read: the files that a run has written are not in their places yet"
                    f" ({clause(error)})."
                )
                raise FileFormatError(text) from error
            time.sleep(0.02)


def check_place(path: Path) -> None:
    """Raise ConfigError for a path that the system does not even look at: a name is too long, or a folder
    may not be entered.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        text = repr(str(path)) if isinstance(error, ValueError) else str(path)
        why = getattr(error, "strerror", None) or clause(error)
        raise ConfigError(
            f"{ends_of(text, _LONGEST)} cannot be written to ({why}): choose another place for the results."
        ) from error


def check_folder(folder: Path) -> None:
    """Raise ConfigError if a folder cannot be made or written to."""
    check_place(folder)
    place = next((one for one in (folder, *folder.absolute().parents) if os.path.lexists(one)), folder)
    if not place.is_dir():
        raise ConfigError(
            f"{place} is {'a file' if place.exists() else 'a broken link'}: the results need a folder."
        )
    if not os.access(place, os.W_OK):
        raise ConfigError(f"{place} cannot be written to: choose another folder for the results.")


def check_file(path: Path) -> None:
    """Find out before the work, rather than after it, what would keep a file from being written.

    Raises:
        ConfigError: its folder cannot be made or written to.
        FileFormatError: something else than a file has its name.
    """
    check_place(path)
    check_folder(path.parent)
    destination(path)


def _make(folder: Path) -> list[Path]:
    """Make a folder; those that were not there, innermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be made ({error.strerror or error}): choose another folder for the results."
        ) from error
    return missing


def _tidy(folder: Path) -> None:
    """Finish, or remove, what killed runs left."""
    try:
        fileset.finish(folder)
    except OSError as error:
        raise FileFormatError(
            f"{folder} holds files of a killed run that cannot be brought to their places"
            f" ({error.strerror or error})."
        ) from error
    sweep(folder)


@contextmanager
def _lock(file: Path, what: Path) -> Iterator[bool]:
    """Hold a lock file; False inside a lock of the same thread."""
    key, me = file.parent.resolve() / file.name, threading.get_ident()
    with _guard:
        mine = key in _held and _held[key][0] == me
        if not mine:
            _held[key] = (me, _acquire(file, what, ours=key in _held))
    if mine:
        yield False
        return
    try:
        yield True
    finally:
        with _guard:
            _release(file, _held.pop(key)[1])


def _acquire(file: Path, what: Path, ours: bool) -> int:
    """Open and hold a lock file. Raises ConfigError where another run holds it."""
    while not ours:
        try:
            handle = os.open(file, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise ConfigError(
                f"{file.parent} cannot be written to ({error.strerror or error}): choose another folder for"
                " the results."
            ) from error
        free = claim(handle)
        if free is False:
            os.close(handle)
            break
        if _same(handle, file):
            with suppress(OSError):
                os.ftruncate(handle, 0)
                os.write(handle, json.dumps({"process": os.getpid(), "command": _command()}).encode())
            return handle
        os.close(handle)  # its holder has just removed it
    raise ConfigError(
        f"{what} is being written by another run{_holder(file)}: wait for its end, or choose another place."
    )


def _same(handle: int, file: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:
        return False


def _release(file: Path, handle: int) -> None:
    """Give a lock up; its file goes first, while nobody else can hold it."""
    with suppress(OSError):
        if os.name != "nt" and _same(handle, file):
            file.unlink()
    os.close(handle)
    if os.name == "nt":
        with suppress(OSError):  # open in another process: it will remove it
            file.unlink()


def _holder(file: Path) -> str:
    """Which process holds a lock, as it says itself; it may just be writing that."""
    for _ in range(10):
        with suppress(OSError, ValueError, LookupError, TypeError):
            found = json.loads(file.read_text(encoding="utf-8"))
            command = " ".join(str(found["command"]).split())
            return (
                f" (process {int(found['process'])}:"
                f" {command if len(command) <= _LONGEST else command[:_LONGEST] + ' …'})"
            )
        time.sleep(0.01)
    return ""


def _command() -> str:
    """How this process was called."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "python"


def _forget() -> None:
    """A forked process closes what it inherited, so that the lock ends with the process that took it."""
    global _guard
    _guard = threading.Lock()
    for _, handle in _held.values():
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
