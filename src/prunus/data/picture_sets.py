"""Sets of pictures with masks: what is trained on and tested, what is held out, and how
they are normalised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prunus._foundation.arguments import door
from prunus.data.folder import TEST_SHARE
from prunus.data.layout import PART_FOLDERS, folders_in, parts_of, pictures_and_masks
from prunus.data.paths import AnyPath, as_folder, as_path, is_folder, shown
from prunus.data.pictures import IGNORED, Example, examples_of, windows
from prunus.data.sets import from_histograms, histograms
from prunus.errors import DataError

MIDDLE = 4096  # pixels: of larger pictures a middle part of this side is looked at
_TILE = re.compile(r"(.*?)(\d+)\D+(\d+)\D*")  # what a tile is of, its row, its column


@dataclass(frozen=True, eq=False)
class PictureSet:
    """A data set for segmentation.

    Attributes:
        name: what it is called.
        train: pictures with masks to train on.
        test: pictures with masks to report on, never to choose by.
        classes: how many, in all parts; 2 for binary masks.
        mean: mean of every plane over the training pictures, in units of 0..1.
        std: standard deviation likewise.
        validation: pictures with masks to choose by, where the set has some of its own; `hold_out` gives some
            otherwise.
        block: side of the squares of tiles that are held out together [tiles].
    """

    name: str
    train: list[Example]
    test: list[Example]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    validation: list[Example] | None = None
    block: int = 1

    @property
    def normalise(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std), as the training functions take them."""
        return self.mean, self.std

    @property
    def maps(self) -> int:
        """Logits per pixel that a network needs: one for a binary mask."""
        return 1 if self.classes == 2 else self.classes


def is_picture_set(root: AnyPath) -> bool:
    """Whether a folder holds pictures beside masks, or its `train` does."""
    place = as_path(root)
    return is_folder(place) and None not in pictures_and_masks(parts_of(place).train)


@door(DataError)
def load_pictures(root: AnyPath, seed: int = 0, block: int = 1, ignore: int = IGNORED) -> PictureSet:
    """Read `root/train`, `root/test` and, for validation, `root/val`, each as `prunus.data.pictures.examples`
    reads it.

    Without `test` the validation pictures are the test; without both, or without `train`, a fifth is held out
    to test on.

    Args:
        root: the folder.
        seed, block: of the test pictures of a folder without a test part, see `hold_out`.
        ignore: the label of mask pixels that count for nothing, see `examples`.

    Raises:
        DataError: whatever `examples` and `hold_out` raise, pictures of different planes, or masks of one
            class.
        MissingExtraError: the library that reads them is not installed.
    """
    root = as_folder(root)
    parts = parts_of(root)
    place, tests, held = parts.train, parts.test, parts.validation
    if place == root and (beside := folders_in(root, PART_FOLDERS)):
        raise DataError(
            f"{shown(root)} has {shown(beside[0].name)} beside pictures of its own: put these into train."
        )
    apart = [part for part in (tests, held) if part is not None]
    train, *others = examples_of([place, *apart], ignore=ignore)
    parts.tell()
    validation = others.pop() if held is not None and others else None
    train, test = (train, others[0]) if others else hold_out(train, TEST_SHARE, seed, block)
    every = [*train, *test, *(validation or [])]
    highest = [_highest(example) for example in every]
    if not any(highest[: len(train)]):
        raise DataError(f"The masks of {shown(place)} hold class 0 alone: there is nothing to find.")
    _check_planes(every)
    return PictureSet(root.name, train, test, 1 + max(highest), *statistics(train), validation, block)


def hold_out(
    examples: Sequence[Example], fraction: float = 0.1, seed: int = 0, block: int = 1
) -> tuple[list[Example], list[Example]]:
    """Split pictures into (kept, held out).

    Tiles of one large picture look like their neighbours: with tiles drawn one by one a network would be
    judged on streets that it has seen half of.
    With `block` above 1, tiles whose names end in row and column, such as `town_3_12`, are held out in
    squares of so many by so many.

    Args:
        examples: the pictures.
        fraction: share of them that is held out at least, in (0, 1); one picture or block stays.
        seed: which.
        block: side of the squares [tiles].

    Raises:
        DataError: numbers out of range, a name without row and column, or nothing would be left to train on.
    """
    if not 0 < fraction < 1 or block < 1:
        raise DataError(
            "The fraction to hold out must lie between 0 and 1, and blocks have at least 1 tile a side; not"
            f" {fraction} and {block}."
        )
    members: dict[tuple[str, int, int], list[int]] = {}
    for position, example in enumerate(examples):
        members.setdefault(square(example.name, block) if block > 1 else ("", position, 0), []).append(
            position
        )
    if len(members) < 2:
        raise DataError(
            f"{len(examples)} pictures in {len(members)} blocks cannot be split: take smaller blocks, or more"
            " pictures."
        )
    blocks, held = list(members.values()), set[int]()
    for number in torch.randperm(len(blocks), generator=torch.Generator().manual_seed(seed))[:-1].tolist():
        if len(held) >= fraction * len(examples):
            break
        held.update(blocks[number])
    return [e for i, e in enumerate(examples) if i not in held], [
        e for i, e in enumerate(examples) if i in held
    ]


def statistics(examples: Sequence[Example]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every plane over all pictures, in units of 0..1; of pictures beyond
    `MIDDLE` pixels a side over their middle.

    Raises DataError for pictures with other planes than the first.
    """
    _check_planes(examples)
    counts = torch.zeros(examples[0].picture.shape[0], 256, dtype=torch.int64)
    for example in examples:
        _, height, width = example.picture.shape
        rows, columns = min(height, MIDDLE), min(width, MIDDLE)
        counts += histograms(
            example.picture.read((height - rows) // 2, (width - columns) // 2, rows, columns)[None]
        )
    return from_histograms(counts)


def _check_planes(examples: Sequence[Example]) -> None:
    """Raises DataError for pictures with other planes than the first."""
    planes = examples[0].picture.shape[0]
    for example in examples:
        if example.picture.shape[0] != planes:
            raise DataError(
                f"{example.name} has {example.picture.shape[0]} planes, but {examples[0].name} has {planes}:"
                " store all pictures in colours, or all in grey levels."
            )


def _highest(example: Example) -> int:
    """The highest class of a mask, read in windows."""
    assert example.mask is not None
    return max(int(window.masked_fill(window == IGNORED, 0).max()) for window in windows(example.mask))


def square(name: str, side: int) -> tuple[str, int, int]:
    """What a tile is of, and its block of so many tiles a side, by its name. Raises DataError for a name
    without row and column.
    """
    found = _TILE.fullmatch(name)
    if found is None:
        raise DataError(
            "Blocks need tiles with their row and column at the end of their names, such as town_3_12;"
            f" {name} has none."
        )
    return found[1], int(found[2]) // side, int(found[3]) // side
