"""Which folder of a set is what."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus.data.layout import PART_FOLDERS, folders_in, named, parts_of, pictures_and_masks, says_no_class
from prunus.errors import DataError


def made(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("folders", "train", "test", "validation", "unread"),
    [
        (("train/a", "test/a", "val/a"), "train", "test", "val", ()),
        (("Training/a", "Valid/a"), "Training", "Valid", None, ()),
        (("train/a", "TESTING/a", "extra/a", ".git"), "train", "TESTING", None, ("extra",)),
        (("train", "test"), ".", None, None, ()),
        (("a", "b"), ".", None, None, ()),
    ],
)
def test_parts_go_by_their_names(
    tmp_path: Path,
    folders: tuple[str, ...],
    train: str,
    test: str | None,
    validation: str | None,
    unread: tuple[str, ...],
) -> None:
    found = parts_of(made(tmp_path, *folders))
    wanted = [None if name is None else tmp_path / name for name in (train, test, validation)]
    assert [found.train, found.test, found.validation] == wanted
    assert found.unread == tuple(tmp_path / name for name in unread)


def test_two_folders_of_one_part_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has test and testing, which mean the same"):
        parts_of(made(tmp_path, "train/a", "testing/a", "test/a"))


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("images", "masks"), ("images", "masks")),
        (("JPEGImages", "SegmentationClass", "Annotations"), ("JPEGImages", "SegmentationClass")),
        (("img",), ("img", None)),
        ((), (None, None)),
    ],
)
def test_pictures_lie_beside_their_masks(
    tmp_path: Path, folders: tuple[str, ...], found: tuple[str | None, str | None]
) -> None:
    wanted = tuple(None if name is None else tmp_path / name for name in found)
    assert pictures_and_masks(made(tmp_path, *folders)) == wanted


@pytest.mark.parametrize(
    ("name", "no_class"),
    [("train_images", True), ("val2017", True), ("no_mask", False), ("cat", False), ("7", False)],
)
def test_names_of_parts_are_no_classes(name: str, no_class: bool) -> None:
    assert says_no_class(name) == no_class


def test_hidden_folders_and_files_are_none(tmp_path: Path) -> None:
    (made(tmp_path, "b", ".a", "A") / "file").touch()
    assert [path.name for path in folders_in(tmp_path)] == ["A", "b"]
    assert folders_in(tmp_path / "file") == [] == named(folders_in(tmp_path), PART_FOLDERS)
