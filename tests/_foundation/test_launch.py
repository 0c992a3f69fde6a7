"""What the environment says of processes that are started together, and what it says by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus._foundation.launch import Launch, check_meeting, launch
from prunus.errors import ConfigError
from prunus.storage.lock import folder_lock
from prunus.training.distributed import process_group

NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, Launch()),
        ({"WORLD_SIZE": "", "RANK": ""}, Launch()),
        ({"RANK": "3", "LOCAL_RANK": "x"}, Launch()),  # of a cluster, for somebody else
        ({"WORLD_SIZE": "1", "RANK": "0"}, Launch()),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}, Launch(3, 4, 1)),
        ({"WORLD_SIZE": "4"}, Launch(0, 4)),
    ],
)
def test_what_is_said(said: dict[str, str], found: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert launch() == found and launch().first == (found.rank == 0)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc', and no whole number"),
        ({"WORLD_SIZE": "-3"}, "WORLD_SIZE is '-3'"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE is '9"),
        ({"WORLD_SIZE": "2", "RANK": "one"}, "RANK is 'one'"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2, and WORLD_SIZE 2"),
    ],
)
def test_what_is_no_number_is_told(
    said: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They were errors that prunus did not know, of every command that writes a folder."""
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    for enter in (process_group, lambda: folder_lock(tmp_path / "out")):
        with pytest.raises(ConfigError, match=f"{text}.*unset WORLD_SIZE to work in one"), enter():
            pass
    assert not (tmp_path / "out").exists()


def test_processes_that_cannot_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="and RANK and MASTER_ADDR and MASTER_PORT are not set"):
        check_meeting()
    for name, value in (("RANK", "0"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="MASTER_PORT is not set"), process_group():
        pass
    monkeypatch.setenv("MASTER_PORT", "abc")
    with pytest.raises(ConfigError, match="MASTER_PORT is 'abc'"), process_group():
        pass
    monkeypatch.setenv("MASTER_PORT", "29500")
    check_meeting()
