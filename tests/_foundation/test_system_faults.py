"""What the system refused is found below what libraries make of it, and is not blamed on a file."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from torch import nn

import prunus
from prunus._foundation.system_faults import check_readable, no_room, refused
from prunus.errors import FileFormatError
from prunus.models import weights
from prunus.storage import checkpoint, file

FULL = OSError(errno.ENOSPC, "No space left on device")


def wrapped(inner: BaseException) -> BaseException:
    """As an exporter raises it: twice around."""
    try:
        try:
            raise inner
        except BaseException as error:
            raise RuntimeError("step 3 failed") from error
    except RuntimeError as error:
        outer = ValueError("pages of advice")
        outer.__context__ = error
        return outer


def test_the_error_at_the_bottom_is_found() -> None:
    assert refused(wrapped(FULL)) is FULL and no_room(wrapped(FULL)) is FULL
    lacking = MemoryError()
    assert refused(wrapped(lacking)) is lacking and no_room(wrapped(lacking)) is None
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert refused(denied) is denied and no_room(denied) is None
    assert refused(wrapped(FileNotFoundError(errno.ENOENT, "No such file"))) is None
    assert refused(wrapped(OSError(errno.EINVAL, "Invalid argument"))) is None  # of a damaged archive
    assert refused(wrapped(ValueError("a mistake"))) is None
    looped = ValueError("one")
    looped.__context__ = other = ValueError("two")
    other.__context__ = looped
    assert refused(looped) is None


def test_only_what_is_damaged_is_blamed(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    check_readable(tmp_path / "there", ValueError("damaged"))
    with pytest.raises(FileFormatError, match="cannot be read"):  # whatever its reader says of that
        check_readable(tmp_path, FileNotFoundError("No such file"))
    with pytest.raises(MemoryError):
        check_readable(tmp_path, wrapped(MemoryError()))
    with pytest.raises(FileFormatError, match=r"cannot be read \(No space left on device\)\.$"):
        check_readable(tmp_path, FULL)


@pytest.mark.parametrize("error", [MemoryError(), PermissionError(errno.EACCES, "Permission denied")])
def test_readers_tell_the_system_from_the_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **more: object) -> None:
        raise error

    model = nn.Linear(2, 2)
    prunus.save(model, tmp_path / "a.safetensors")
    checkpoint.write_tree(tmp_path / "c.safetensors", {"a": torch.ones(2)})
    for module, name in ((file, "safe_open"), (checkpoint, "safe_open"), (weights, "load_file")):
        monkeypatch.setattr(module, name, fails)
    kind = MemoryError if isinstance(error, MemoryError) else FileFormatError
    for read in (
        lambda: prunus.load(tmp_path / "a.safetensors", lambda: nn.Linear(2, 2)),
        lambda: checkpoint.read_tree(tmp_path / "c.safetensors"),
        lambda: weights.load_weights(model, tmp_path / "a.safetensors"),
    ):
        with pytest.raises(kind) as told:
            read()
        assert kind is MemoryError or str(told.value).endswith("cannot be read (Permission denied).")
