"""Writing one file: whole or not at all, through links, and only where a file is or may be."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prunus._foundation.atomic import PART, draft_folder, put, sweep, write_atomically
from prunus._foundation.oslock import claim
from prunus.errors import FileFormatError

POSIX = pytest.mark.skipif(os.name == "nt", reason="named pipes and permissions of POSIX")


def _by_put(path: Path, content: bytes) -> None:
    with draft_folder(path) as folder:
        (folder / "draft").write_bytes(content)
        put(folder / "draft", path)


@pytest.fixture(params=[write_atomically, _by_put], ids=["write_atomically", "put"])
def write(request: pytest.FixtureRequest) -> Callable[[Path, bytes], None]:
    found: Callable[[Path, bytes], None] = request.param
    return found


def _special(path: Path, kind: str) -> Path:
    if kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))  # the name of a socket is short
    else:
        return Path(os.devnull)
    return path


@POSIX
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["a folder", "a named pipe", "a socket", "a device"])
def test_what_is_no_file_is_refused_and_stays(
    write: Callable[[Path, bytes], None],
    kind: str,
    linked: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _special(tmp_path / "target", kind)
    before = path.lstat()
    if linked:
        (tmp_path / "link").symlink_to(path)
    there = sorted(tmp_path.iterdir())
    with pytest.raises(FileFormatError) as caught:
        write(tmp_path / "link" if linked else path, b"new")
    assert f"{'leads to' if linked else 'is'} {kind}" in str(caught.value)
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(tmp_path.iterdir()) == there


@POSIX
def test_a_link_is_followed_and_stays(write: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, first, second = tmp_path / "elsewhere" / "file", tmp_path / "first", tmp_path / "second"
    real.write_bytes(b"old")
    first.symlink_to("second")
    second.symlink_to(real)
    write(first, b"new")
    assert (
        first.is_symlink() and second.is_symlink() and not real.is_symlink() and real.read_bytes() == b"new"
    )
    real.unlink()
    write(first, b"again")  # through a link to nothing
    assert first.is_symlink() and real.read_bytes() == b"again"
    assert list(real.parent.iterdir()) == [real]


@POSIX
def test_links_in_a_circle_are_told(write: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(FileFormatError, match=r"one cannot be written \(its links lead in a circle\)"):
        write(tmp_path / "one", b"new")


@POSIX
def test_permissions_of_an_existing_file_are_kept_and_new_ones_follow_the_umask(
    write: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    path, fresh = tmp_path / "file", tmp_path / "fresh"
    path.write_bytes(b"old")
    path.chmod(0o640)
    before = os.umask(0o027)
    try:
        write(path, b"new")
        write(fresh, b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and stat.S_IMODE(fresh.stat().st_mode) == 0o640


@POSIX
def test_another_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"old")
    other.hardlink_to(path)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and other.read_bytes() == b"old"


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(
    write: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    path, dead, folder, other = (
        tmp_path / name for name in ("file", f".file.0000{PART}", f".file.1111{PART}", f".other.2222{PART}")
    )
    living = tmp_path / f".file.3333{PART}"
    for one in (dead, other, living):
        one.write_bytes(b"half")
    folder.mkdir()
    (folder / "draft").write_bytes(b"half")
    with living.open("rb+") as held:
        if claim(held.fileno()) is not True:
            pytest.skip("no locks here")
        write(path, b"new")
        assert sorted(tmp_path.iterdir()) == sorted([path, living, other])
        sweep(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([path, living])
    with draft_folder(path) as drafts:
        sweep(tmp_path)
        assert drafts.is_dir() and sorted(tmp_path.iterdir()) == sorted([path, drafts])


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "fdopen"])
def test_a_full_disk_leaves_what_was_there(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*arguments: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if call == "fdopen":
            made = os.fdopen

            def half(*arguments: Any, **more: Any) -> Any:
                file = made(*arguments, **more)
                return _Full(file)

            patch.setattr(os, "fdopen", half)
        else:
            patch.setattr(os, call, full)
        with pytest.raises(FileFormatError, match="file cannot be written"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


class _Full:
    """A file on a disk that is full after the first byte."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *what: Any) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_name_that_no_system_has_is_told(write: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be written"):
        write(tmp_path / "a\0b", b"new")


def test_a_name_of_255_bytes_can_be_written(write: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    write(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
