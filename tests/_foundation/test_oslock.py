"""A lock of the system on an open file: one holder, until it is closed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from prunus._foundation import oslock


def test_one_open_file_holds_the_lock_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert oslock.claim(first) is True and oslock.claim(second) is False
    os.close(first)
    assert oslock.claim(second) is True
    os.close(second)


@pytest.mark.parametrize(("number", "answer"), [(errno.EWOULDBLOCK, False), (errno.ENOLCK, None)])
def test_a_system_without_locks_is_told_from_a_lock_that_is_held(
    number: int, answer: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(oslock, "_claim", refuse)
    assert oslock.claim(0) is answer
