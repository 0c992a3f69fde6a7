"""One run at a time in a folder, by locks that end with their process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from prunus._foundation import oslock
from prunus._foundation.atomic import PART
from prunus.errors import ConfigError, FileFormatError
from prunus.storage import lock
from prunus.storage.fileset import JOURNAL
from prunus.storage.lock import FILE, check_file, check_folder, check_place, file_lock, folder_lock, settle

HOLDER = """
import sys, prunus.storage.lock as lock
with lock.folder_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(folder: Path, **more: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), "two words"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    with _holder(folder) as process:
        with pytest.raises(ConfigError) as caught, folder_lock(folder):
            pytest.fail("it began")
        text = str(caught.value)
        assert text.startswith(
            f"{folder} is being written by another run (process {process.pid}: -c {folder} 'two words')"
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (folder / FILE).is_file()
    with folder_lock(folder):
        assert (folder / FILE).is_file()
        (folder / "result").write_text("")
    assert [path.name for path in folder.iterdir()] == ["result"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    read, write = os.pipe()
    with folder_lock(tmp_path):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        with pytest.raises(ConfigError), OtherThread(tmp_path):
            pass
    with folder_lock(tmp_path):
        pass
    os.close(write)
    os.waitpid(child, 0)
    os.close(read)


class OtherThread:
    """Take the lock in another thread; what it raises comes out here."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.error = folder, None

    def __enter__(self) -> None:
        def take() -> None:
            try:
                with folder_lock(self.folder):
                    pass
            except Exception as error:
                self.error = error  # type: ignore[assignment]

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        if self.error is not None:
            raise self.error

    def __exit__(self, *what: Any) -> None: ...


def test_the_same_thread_may_lock_again_and_another_may_not(tmp_path: Path) -> None:
    with folder_lock(tmp_path), folder_lock(str(tmp_path)):
        with pytest.raises(ConfigError, match=f"process {os.getpid()}"), OtherThread(tmp_path):
            pass
        with OtherThread(tmp_path / "other"):
            pass
    with OtherThread(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_into_which_nothing_came_is_gone_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with folder_lock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "file"]


def test_runs_go_on_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(handle: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(oslock, "_claim", none)
    with folder_lock(tmp_path):
        (tmp_path / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_of_several_processes_of_one_training_the_first_one_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _holder(tmp_path) as process:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        with folder_lock(tmp_path):
            pass
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(ConfigError), folder_lock(tmp_path):
            pytest.fail("it began")
        process.kill()


def test_what_killed_runs_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / f".model.onnx.12345678{PART}").mkdir()
    (tmp_path / f".result.json.12345678{PART}").write_bytes(b"half")
    (tmp_path / ".prunus-new").mkdir()
    (tmp_path / ".prunus-new" / "model.safetensors").write_bytes(b"whole, but not the rest")
    (tmp_path / ".hidden").write_bytes(b"the user's")
    with folder_lock(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", FILE]


def test_a_lock_is_not_taken_through_a_link_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match="out cannot be written to"), folder_lock(tmp_path / "out"):
        pytest.fail("it began")
    assert (tmp_path / "victim").read_bytes() == b"precious"
    with (
        pytest.raises(ConfigError, match="victim is a file: the results need a folder"),
        folder_lock(tmp_path / "victim" / "out"),
    ):
        pytest.fail("it began")


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + "/deeper", "a\0b"])
def test_a_place_that_the_system_does_not_look_at_is_told(name: str, tmp_path: Path) -> None:
    for check in (check_place, check_folder, check_file):
        with pytest.raises(ConfigError, match=r"cannot be written to .*: choose another place") as told:
            check(tmp_path / name)
        assert len(str(told.value)) < 500 and "\0" not in str(told.value)
    with pytest.raises(ConfigError), folder_lock(tmp_path / name):
        pytest.fail("it began")
    check_place(tmp_path / "none" / "at all")
    (tmp_path / "file").touch()
    check_place(tmp_path / "file" / "below")  # whoever looks further says that it is a file


def test_a_lock_on_a_file_leaves_other_files_free(tmp_path: Path) -> None:
    with file_lock(tmp_path / "mask.png"), folder_lock(tmp_path), file_lock(tmp_path / "other.png"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_entered_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "inside"))

    monkeypatch.setattr("prunus.storage.fileset.pending", denied)
    with pytest.raises(FileFormatError) as told:
        settle(tmp_path)
    assert str(told.value) == f"{tmp_path} cannot be read (Permission denied)."


def test_a_reader_waits_for_a_living_writer_and_says_so_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE", 0.05)
    with _holder(tmp_path) as process:
        settle(tmp_path)  # nothing is pending
        (tmp_path / ".prunus-new").mkdir()
        settle(tmp_path)  # being written, and nobody's business yet
        (tmp_path / ".prunus-new" / "plan.json").write_bytes(b"new")
        (tmp_path / ".prunus-new" / JOURNAL).write_text('{"put": ["plan.json"], "remove": []}')
        with pytest.raises(FileFormatError, match=f"are not in their places yet .*process {process.pid}"):
            settle(tmp_path)
        process.kill()
        process.wait()
    settle(tmp_path)
    assert (tmp_path / "plan.json").read_bytes() == b"new" and not (tmp_path / ".prunus-new").exists()
