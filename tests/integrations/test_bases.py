"""Without the packages one sentence says what is missing."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from prunus.errors import MissingExtraError
from prunus.integrations._bases import base

ABSENT = """
import sys
for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
    sys.modules[name] = None
import prunus
from prunus.errors import MissingExtraError
from prunus.methods.soft import SoftPruning
import torch
for extra in ("lightning", "transformers"):
    room = getattr(prunus.integrations, extra)
    try:
        room.PruningCallback(SoftPruning(torch.zeros(1), 0.5))
    except MissingExtraError as error:
        assert str(error).endswith(f"needs the extra prunus[{extra}]."), error
    else:
        raise AssertionError(room)
"""


def test_callbacks_can_be_imported_but_not_made_without_their_packages() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", ABSENT], check=True, timeout=120)


def test_the_package_that_is_in_use_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = types.ModuleType("first_of_two"), types.ModuleType("second_of_two")
    first.Callback, second.Callback = type("First", (), {}), type("Second", (), {})  # type: ignore[attr-defined]
    names = ("first_of_two.inner", "second_of_two")
    monkeypatch.setitem(sys.modules, "second_of_two", second)
    assert base(names, "Callback", "nothing").__name__ == "Second"
    monkeypatch.setitem(sys.modules, "first_of_two.inner", first)
    assert base(names, "Callback", "nothing").__name__ == "Second"
    monkeypatch.setitem(sys.modules, "first_of_two", first)
    assert base(names, "Callback", "nothing").__name__ == "First"


def test_nothing_can_be_made_of_a_class_that_is_not_there() -> None:
    absent = base(("nowhere.at_all",), "Callback", "nothing")
    with pytest.raises(MissingExtraError, match=r"needs the extra prunus\[nothing\]"):
        type("Mine", (absent,), {})()
