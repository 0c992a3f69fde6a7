"""Sets of files that replace each other as a whole, whatever happens meanwhile.

The new files are written into a hidden folder beside their places. A journal, written last, makes them count:
without it the folder is rubbish, with it the new files are brought to their places, now or by whoever opens
the folder next. First all old files go, then all new ones come: old and new files never lie side by side
under their names, not even for a reader who knows nothing of the journal.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prunus._foundation.atomic import PART, destination, keep_permissions, put, sync_folder, write_atomically
from prunus._foundation.run_files import OF_EPOCHS, OF_RUNS
from prunus.errors import FileFormatError

NEW = "prunus-new"
JOURNAL = "journal.json"


@contextmanager
def staging(
    folder: Path, family: Iterable[str], last: Iterable[str] = (), key: str = "", also: Iterable[str] = ()
) -> Iterator[Path]:
    """A folder to write the files of a set in; when the block ends they take their places in `folder`
    together, and if it fails, none does.

    Whoever calls this holds a lock (see `prunus.storage.lock`).

    Args:
        folder: where the set belongs; made if it is not there.
        family: names of files (or folders) that belong to such sets: those that are there and not written
            this time go.
        last: names that come last, by which a reader knows that a set is there.
        key: tells apart the sets of a folder, if it can have several.
        also: names of other files that such a set may hold.

    Raises:
        FileFormatError: the set cannot be written, and the old one is untouched; or it is written and cannot
            be brought to its place yet.
    """
    family, last, place = tuple(family), tuple(last), _place(folder, key)
    finish(folder, key, known={*family, *last, *also})
    check(folder, family)
    try:
        place.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield place
        _commit(folder, place, family, last)
    except BaseException as error:
        _discard(place)
        if isinstance(error, OSError):
            raise _unwritable(folder, error) from error
        if isinstance(error, FileFormatError) and str(place) in str(error):
            # whoever reads it knows the files by their places
            raise FileFormatError(str(error).replace(str(place), str(folder))) from error
        raise
    _bring(folder, key)


def check(folder: Path, names: Iterable[str]) -> None:
    """Raise FileFormatError if a file of a set could not be written, because something else than a file has
    its name.
    """
    for name in names:
        if not (folder / name).is_dir() or Path(name).suffix:  # without a suffix it is a folder of the family
            destination(folder / name)


def pending(folder: Path, key: str = "") -> bool:
    """Whether a set is written, and not in its place yet."""
    return (_place(folder, key) / JOURNAL).is_file()


def finish(folder: Path, key: str = "", known: Collection[str] | None = None, own: bool = False) -> None:
    """Bring a set that is written to its place, and remove one that is not; to be called again and again
    until it comes to its end.

    `own` is for the run that wrote it just now, which writes through links, too. Whoever finishes what
    another began does not: the folder may be anybody's. Then the files have names of `known`, or of those
    that runs write, so that what was put into a folder does not reach what else lies there.

    Raises OSError or FileFormatError if the folder cannot be written to.
    """
    place = _place(folder, key)
    if place.is_symlink():
        place.unlink()
    if not pending(folder, key):
        shutil.rmtree(place, ignore_errors=True)
        return
    names, stale = _journal(place / JOURNAL)
    known = OF_RUNS if known is None else known
    other = next((one for one in (*names, *stale) if not own and one not in known), None)
    if other is not None:
        raise FileFormatError(
            f"{place / JOURNAL} names {other!r}, which is no file of such a set: remove the folder of"
            " the journal."
        )
    waiting = [name for name in names if (place / name).is_file()]
    for name in [*stale, *reversed(waiting)]:
        _remove(folder / name, own, name in waiting)
    for name in waiting:
        put(place / name, folder / name)
    sync_folder(folder)
    _discard(place)


def _place(folder: Path, key: str) -> Path:
    return folder / (f".{key}.{NEW}" if key else f".{NEW}")


def _commit(folder: Path, place: Path, family: tuple[str, ...], last: tuple[str, ...]) -> None:
    """Bring the new files to the disk, and then the journal, from which on they count."""
    with os.scandir(place) as entries:
        found = {entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")}
    check(folder, found)
    names = [*sorted(found - set(last)), *(name for name in last if name in found)]
    for name in names:
        with (place / name).open("rb+") as file:
            os.fsync(file.fileno())
        keep_permissions(place / name, folder / name)
    sync_folder(place)
    write_atomically(
        place / JOURNAL,
        json.dumps({"put": names, "remove": [name for name in family if name not in found]}).encode(),
    )
    sync_folder(folder)


def _bring(folder: Path, key: str) -> None:
    """What is written counts already: it gets to its place even if the run is interrupted here."""
    try:
        try:
            finish(folder, key, own=True)
        except KeyboardInterrupt:
            finish(folder, key, own=True)
            raise
    except (OSError, FileFormatError) as error:
        why = getattr(error, "strerror", None) or error
        text = (
            f"The new files of {folder} are written, but not all have their places yet ({why}): whatever"
            " opens the folder next brings them there."
        )
        raise FileFormatError(text) from error


def _journal(path: Path) -> tuple[list[str], list[str]]:
    """What comes and what goes. Raises FileFormatError unless these are plain names, so that nothing outside
    the folder is meant.
    """
    try:
        found: Any = json.loads(path.read_bytes())
        names, stale = list(found["put"]), list(found["remove"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{path} is no journal of a set of files: remove its folder.") from error
    for name in [*names, *stale]:
        if (
            not isinstance(name, str)
            or name in ("", ".", "..")
            or Path(name).name != name
            or not name.isprintable()
            or "\\" in name
        ):
            raise FileFormatError(
                f"{path} names {name!r}, which is no name of a file in that folder: remove the folder of the"
                " journal."
            )
    return names, stale


def _remove(path: Path, own: bool, replaced: bool) -> None:
    """Remove a file, through a link where it is one's own that is replaced; and a folder, which of another
    run goes only with what runs write into it.
    """
    if path.is_dir() and not path.is_symlink():
        if own or all(one.match(OF_EPOCHS) or one.name.endswith(PART) for one in path.iterdir()):
            shutil.rmtree(path)
    else:
        (Path(os.path.realpath(path)) if own and replaced else path).unlink(missing_ok=True)


def _discard(place: Path) -> None:
    """Remove a hidden folder, first of all what makes it count."""
    with suppress(OSError):
        (place / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> FileFormatError:
    return FileFormatError(
        f"The files of {folder} cannot be written ({error.strerror or error}); what was there before is"
        " untouched."
    )
