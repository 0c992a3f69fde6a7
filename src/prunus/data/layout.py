"""How the folders of a data set are named: its parts, and pictures beside their masks. Capitals do not
count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prunus._foundation.warned import warn
from prunus.data.paths import is_folder, listed, shown
from prunus.errors import DataError

TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing")
VALIDATION_FOLDERS = ("val", "valid", "validation")
PART_FOLDERS = (*TRAIN_FOLDERS, *TEST_FOLDERS, *VALIDATION_FOLDERS)
MOST_NAMED = 4
# JPEGImages beside SegmentationClass: Pascal VOC
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
# gt: Inria, label: AIRS, annotations: ADE20K
MASK_FOLDERS = ("masks", "mask", "gt", "labels", "label", "segmentationclass", "annotations", "annotation")


@dataclass(frozen=True)
class Parts:
    """The folders of a set.

    Attributes:
        root: the set.
        train: what is trained on; the root itself where it has no part for that.
        test: what is reported on: that for validation where there is no other.
        validation: what is chosen by, where that is another.
        unread: other folders beside the training part.
    """

    root: Path
    train: Path
    test: Path | None = None
    validation: Path | None = None
    unread: tuple[Path, ...] = ()

    def tell(self) -> None:
        """Warn of folders that are not read."""
        tell_unread(self.root, [path.name for path in self.unread])


def parts_of(root: Path) -> Parts:
    """The parts of a set. Raises DataError for two folders that mean the same part."""
    # a class may be called train, which holds images, not folders
    train = _part(root, [path for path in folders_in(root, TRAIN_FOLDERS) if folders_in(path)], TRAIN_FOLDERS)
    if train is None:
        return Parts(root, root)
    inside = folders_in(root)
    test, held = (_part(root, inside, names) for names in (TEST_FOLDERS, VALIDATION_FOLDERS))
    unread = tuple(path for path in inside if path not in (train, test, held))
    if test is None:
        test, held = held, None
    return Parts(root, train, test, held, unread)


def tell_unread(place: Path, names: Sequence[str]) -> None:
    """Warn of folders or arrays of a set, by their names, that are no part of it."""
    if names:
        more = " …" if len(names) > MOST_NAMED else ""
        warn(
            f"In {shown(place)} {' and '.join(map(shown, names[:MOST_NAMED]))}{more}"
            f" {'is' if len(names) == 1 else 'are'} not read: the parts of a set are named train, val and"
            " test."
        )


def folders_in(place: Path, names: Sequence[str] = ()) -> list[Path]:
    """The folders in a folder, in the order of their names, but for hidden ones; with `names` those that are
    called so, and nobody asks what the others are, of which there may be a million. In what is no folder,
    none.
    """
    found = [path for path in listed(place) if not path.name.startswith(".")] if is_folder(place) else []
    return [path for path in (named(found, names) if names else found) if is_folder(path)]


def named(folders: Iterable[Path], names: Sequence[str]) -> list[Path]:
    """Those of the folders that have one of the names, in the order of the names."""
    found = [path for path in folders if path.name.lower() in names]
    return sorted(found, key=lambda path: names.index(path.name.lower()))


def pictures_and_masks(place: Path) -> tuple[Path | None, Path | None]:
    """The folders of pictures and of masks in a folder, each where there is one."""
    pictures, masks = (folders_in(place, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))
    return pictures[0] if pictures else None, masks[0] if masks else None


def says_no_class(name: str) -> bool:
    """Whether a name says but which part of a set something is, or pictures or masks: train_images."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    return bool(words) and set(words) <= {*PART_FOLDERS, *IMAGE_FOLDERS, *MASK_FOLDERS}


def _part(root: Path, folders: Iterable[Path], names: Sequence[str]) -> Path | None:
    found = named(folders, names)
    if len(found) > 1:
        raise DataError(
            f"{shown(root)} has {shown(found[0].name)} and {shown(found[1].name)}, which mean the same: keep"
            " one of them."
        )
    return found[0] if found else None
