from __future__ import annotations

from pathlib import Path

import pytest

from prunus.data import default_root, load, names
from prunus.errors import DataError


def test_names() -> None:
    assert names() == ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100")


def test_default_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path))
    assert default_root() == tmp_path
    with pytest.raises(DataError, match=str(tmp_path)):
        load("mnist", download=False)
    monkeypatch.delenv("PRUNUS_DATA")
    assert default_root() == Path.home() / ".cache" / "prunus"


def test_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'cifar-10'.* Did you mean cifar10"):
        load("cifar-10", tmp_path)
    with pytest.raises(DataError, match=r"The names are digits, mnist"):
        load("zzzz", tmp_path)


def test_a_size_is_only_for_folders() -> None:
    with pytest.raises(DataError, match="image_size is for image folders"):
        load("digits", image_size=16)


def test_a_folder_that_is_called_like_a_set_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits of somebody's own were passed over in silence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    with pytest.warns(
        UserWarning, match=r"digits is the set of that name, and not the folder .* is \./digits"
    ):
        load("digits", tmp_path / "elsewhere")
    (tmp_path / "mnist").mkdir()
    with pytest.raises(DataError, match="There is no mnist"):
        load("mnist", tmp_path, download=False)
