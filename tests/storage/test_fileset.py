"""Sets of files: whatever call fails, and wherever the process is killed, a folder holds the old set or the
new one.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prunus._foundation.atomic import write_atomically
from prunus.errors import FileFormatError
from prunus.storage import fileset
from prunus.storage.fileset import finish, pending, staging
from prunus.storage.lock import folder_lock, settle

FAMILY = ("a", "b", "only-old", "only-new", "index.json", "kept")
OLD = {
    "a": b"old a",
    "b": b"old b",
    "only-old": b"old",
    "index.json": b"old index",
    "user.txt": b"the user's",
}
NEW = {
    "a": b"new a",
    "b": b"new b",
    "only-new": b"new",
    "index.json": b"new index",
    "user.txt": b"the user's",
}


@pytest.fixture(autouse=True)
def _of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write these here."""
    monkeypatch.setattr(fileset, "OF_RUNS", frozenset({*FAMILY, "c"}))


CALLS = ("open", "mkdir", "fdopen", "fsync", "replace", "unlink", "chmod", "rmdir")


def _old(folder: Path) -> None:
    folder.mkdir()
    for name, content in OLD.items():
        (folder / name).write_bytes(content)


def _write_new(folder: Path) -> None:
    with folder_lock(folder), staging(folder, FAMILY, last=["index.json"]) as staged:
        for name in ("b", "a", "only-new", "index.json"):
            write_atomically(staged / name, NEW[name])


def _held(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }


def _counted(
    name: str, real: Callable[..., Any], called: list[str], number: int, act: Callable[[], None]
) -> Callable[..., Any]:
    def counted(*arguments: Any, **more: Any) -> Any:
        called.append(name)
        if len(called) == number:
            act()
        return real(*arguments, **more)

    return counted


@contextmanager
def _at_call(number: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Do something instead of (the first call after) so many calls that change files; the names of the calls
    so far.
    """
    called: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _counted(name, getattr(os, name), called, number, act))
        yield called


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _calls(folder: Path) -> list[str]:
    _old(folder)
    with _at_call(0, _full) as called:
        _write_new(folder)
    assert _held(folder) == NEW and len(list(folder.iterdir())) == len(NEW)
    return called


def _whole(folder: Path) -> str:
    """Old or new, once the folder is opened; before, nothing of the one lies beside the other."""
    before = {name: content for name, content in _held(folder).items() if name != "user.txt"}
    assert before.items() <= OLD.items() or before.items() <= NEW.items(), before
    settle(folder)
    found = _held(folder)
    assert found in (OLD, NEW), found
    return "new" if found == NEW else "old"


def test_whichever_call_fails_the_set_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    called = _calls(tmp_path / "unbroken")
    outcomes = []
    for number in range(1, len(called) + 1):
        folder = tmp_path / str(number)
        _old(folder)
        told = ""
        with _at_call(number, _full):
            try:
                _write_new(folder)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
        found = _whole(folder)
        if told:
            outcomes.append(found)
            assert told.startswith(("FileFormatError", "ConfigError")) and (
                "cannot be" in told or "not all have their places yet" in told
            ), told
        else:
            assert found == "new", called[number - 1]
        _write_new(folder)
        assert _held(folder) == NEW and len(list(folder.iterdir())) == len(NEW)
    assert outcomes == sorted(outcomes, reverse=True) and set(outcomes) == {
        "old",
        "new",
    }  # from one call on it is the new one


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_wherever_it_is_killed_the_set_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    called = _calls(tmp_path / "unbroken")
    outcomes = []
    for number in range(1, len(called) + 1):
        folder = tmp_path / str(number)
        _old(folder)
        child = os.fork()
        if not child:
            with _at_call(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                _write_new(folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        outcomes.append(_whole(folder))
        _write_new(folder)
        assert _held(folder) == NEW and len(list(folder.iterdir())) == len(NEW)
    assert outcomes == sorted(outcomes, reverse=True) and set(outcomes) == {"old", "new"}


def test_finishing_may_be_broken_off_as_well(tmp_path: Path) -> None:
    for number in range(1, 100):
        folder = tmp_path / str(number)
        _committed(folder)
        with _at_call(number, _full) as called:
            try:
                finish(folder)
            except (OSError, FileFormatError):
                assert len(called) >= number
        assert _whole(folder) == "new"
        if len(called) < number:
            break
    else:
        pytest.fail("it never came to its end")


def _forge(folder: Path, part: str, name: Any) -> None:
    """Write one more name into the journal of a set that is to be brought to its place."""
    journal = {"put": ["a"], "remove": ["b"]}
    journal[part].append(name)
    (folder / ".prunus-new" / fileset.JOURNAL).write_text(json.dumps(journal))


def _committed(folder: Path) -> None:
    """An old set, and a new one that is written and not in its place."""
    _old(folder)
    place = folder / ".prunus-new"
    place.mkdir()
    for name in ("a", "b", "only-new", "index.json"):
        (place / name).write_bytes(NEW[name])
    (place / fileset.JOURNAL).write_text(
        json.dumps({"put": ["a", "b", "only-new", "index.json"], "remove": ["only-old", "kept"]})
    )


def test_an_interrupted_block_changes_nothing(tmp_path: Path) -> None:
    _old(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "out", FAMILY) as staged:
        write_atomically(staged / "a", b"new a")
        raise KeyboardInterrupt
    assert _held(tmp_path / "out") == OLD and len(list((tmp_path / "out").iterdir())) == len(OLD)


def test_an_interrupt_while_files_get_their_places_lets_them_get_there(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _old(folder)

    def interrupt() -> None:
        raise KeyboardInterrupt

    called = _calls(tmp_path / "unbroken")
    last = max(number for number, name in enumerate(called, 1) if name == "replace")
    with pytest.raises(KeyboardInterrupt), _at_call(last, interrupt):
        _write_new(folder)
    assert _held(folder) == NEW and not pending(folder)


def test_folders_of_the_family_go_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _old(folder)
    (folder / "kept").mkdir()
    (folder / "kept" / "epoch-0001.npy").write_bytes(b"old")
    _write_new(folder)
    assert not (folder / "kept").exists()


@pytest.mark.parametrize(
    "name", ["../victim", "/etc/passwd", "..", "", "sub/file", "a\\b", "a\0", "\ud800", 3, None]
)
@pytest.mark.parametrize("part", ["put", "remove"])
def test_a_journal_of_somebody_else_reaches_nothing_outside(part: str, name: Any, tmp_path: Path) -> None:
    folder, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_bytes(b"precious")
    _committed(folder)
    _forge(folder, part, name)
    with pytest.raises(FileFormatError, match="no name of a file in that folder"):
        settle(folder)
    assert victim.read_bytes() == b"precious" and _held(folder) == OLD


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"put": 3, "remove": []}', '{"put": []}', "\xff"]
)
def test_a_journal_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    _committed(tmp_path / "out")
    (tmp_path / "out" / ".prunus-new" / fileset.JOURNAL).write_text(text, encoding="latin-1")
    with pytest.raises(FileFormatError, match="no journal of a set of files"):
        settle(tmp_path / "out")


@pytest.mark.parametrize("part", ["put", "remove"])
def test_a_journal_of_somebody_else_reaches_no_other_file(part: str, tmp_path: Path) -> None:
    """It may have come out of an archive, into a folder of one's own."""
    folder = tmp_path / "out"
    _committed(folder)
    (folder / ".prunus-new" / "user.txt").write_bytes(b"forged")
    _forge(folder, part, "user.txt")
    with pytest.raises(FileFormatError, match=r"names 'user\.txt', which is no file of such a set: remove"):
        settle(folder)
    assert _held(folder) == OLD


def test_a_folder_of_the_user_stays(tmp_path: Path) -> None:
    """It has the name of one that runs make, and no run made it."""
    folder = tmp_path / "out"
    _committed(folder)
    (folder / "kept").mkdir()
    (folder / "kept" / "thesis.txt").write_bytes(b"precious")
    settle(folder)
    assert (folder / "kept" / "thesis.txt").exists() and _held(folder) == NEW


def test_a_set_with_a_key_has_the_names_that_it_may_have(tmp_path: Path) -> None:
    place = tmp_path / ".mask.png.prunus-new"
    place.mkdir()
    (place / fileset.JOURNAL).write_text(json.dumps({"put": [], "remove": ["thesis.txt"]}))
    (tmp_path / "thesis.txt").write_bytes(b"precious")
    with (
        pytest.raises(FileFormatError, match=r"names 'thesis\.txt'"),
        staging(tmp_path, (), last=["mask.png"], key="mask.png", also=["overlay.png"]),
    ):
        pass
    assert (tmp_path / "thesis.txt").exists()


def test_links_in_a_folder_of_somebody_else_are_not_written_through(tmp_path: Path) -> None:
    folder, victim, foreign = tmp_path / "out", tmp_path / "victim", tmp_path / "foreign"
    victim.write_bytes(b"precious")
    _committed(folder)
    (folder / "a").unlink()
    (folder / "a").symlink_to(victim)
    settle(folder)
    assert victim.read_bytes() == b"precious" and _held(folder) == NEW and not (folder / "a").is_symlink()
    foreign.mkdir()
    (foreign / fileset.JOURNAL).write_text(json.dumps({"put": ["c"], "remove": []}))
    (foreign / "c").write_bytes(b"precious")
    (folder / ".prunus-new").symlink_to(foreign)
    settle(folder)
    assert (foreign / "c").exists() and _held(folder) == NEW


def test_a_link_among_the_files_stays_when_its_run_replaces_them(tmp_path: Path) -> None:
    folder, real = tmp_path / "out", tmp_path / "elsewhere"
    _old(folder)
    (folder / "a").rename(real)
    (folder / "a").symlink_to(real)
    _write_new(folder)
    assert (folder / "a").is_symlink() and real.read_bytes() == b"new a" and _held(folder) == NEW


def test_a_pipe_in_the_place_of_a_file_is_refused_before_anything_happens(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _old(folder)
    (folder / "only-new").mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(FileFormatError, match="pipe is a named pipe"), staging(folder, ("a", "pipe")):
        pytest.fail("it began")
    assert _held(folder) == OLD


def test_a_file_that_cannot_be_written_is_called_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    _old(tmp_path / "set")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileFormatError) as told:
        _write_new(tmp_path / "set")
    assert str(told.value).startswith(f"{tmp_path / 'set' / 'b'} cannot be written (No space left on device)")
