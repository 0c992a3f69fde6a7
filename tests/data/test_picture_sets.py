"""Sets of pictures: blocks that are held out, test parts, classes, and how they are normalised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from prunus.data import picture_sets
from prunus.data.picture_sets import hold_out, is_picture_set, load_pictures, statistics
from prunus.data.pictures import IGNORED, Example, Loaded
from prunus.errors import DataError


def tile(name: str, seed: int = 0, planes: int = 3) -> Example:
    pixels = torch.randint(
        0, 256, (planes, 6, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return Example(name, Loaded(pixels), Loaded((pixels[:1] > 128).to(torch.uint8)))


GRID = [tile(f"town_{row}_{column}.5m") for row in range(10) for column in range(12)]


def squares(examples: list[Example], side: int) -> set[tuple[int, int]]:
    places = [example.name.removesuffix(".5m").split("_")[1:] for example in examples]
    return {(int(row) // side, int(column) // side) for row, column in places}


def test_tiles_are_held_out_in_squares() -> None:
    plain = [Example(example.name.removesuffix(".5m"), example.picture, example.mask) for example in GRID]
    kept, held = hold_out(plain, 0.2, seed=1, block=3)
    assert len(kept) + len(held) == 120 and 24 <= len(held) < 24 + 9
    assert not squares(kept, 3) & squares(held, 3)
    assert [e.name for e in hold_out(plain, 0.2, seed=1, block=3)[1]] == [e.name for e in held]
    assert squares(hold_out(plain, 0.2, seed=2, block=3)[1], 3) != squares(held, 3)
    one_by_one = hold_out(plain, 0.2, seed=1)
    assert len(one_by_one[1]) == 24 and squares(one_by_one[0], 3) & squares(one_by_one[1], 3)


def test_squares_of_two_pictures_are_two() -> None:
    tiles = [
        tile(f"{town}_{row}_{column}") for town in ("a1", "b2") for row in range(2) for column in range(2)
    ]
    kept, held = hold_out(tiles, 0.5, block=2)
    assert (
        len(held) == 4
        and len({example.name[:2] for example in held}) == 1
        and not {e.name for e in kept} & {e.name for e in held}
    )


@pytest.mark.parametrize(
    ("names", "options", "text"),
    [
        (["a_1_1", "a_1_2"], {"fraction": 1.0}, "must lie between 0 and 1"),
        (["a_1_1", "a_1_2"], {"block": 0}, "at least 1 tile a side"),
        (["a_1_1", "a_1_2"], {"block": 4}, "2 pictures in 1 blocks cannot be split"),
        (
            ["a_1_1", "austin"],
            {"block": 2},
            "row and column at the end of their names, such as town_3_12; austin has none",
        ),
        (["a"], {}, "1 pictures in 1 blocks cannot be split"),
    ],
)
def test_what_cannot_be_split_is_told(names: list[str], options: dict[str, float], text: str) -> None:
    with pytest.raises(DataError, match=text):
        hold_out([tile(name) for name in names], **options)  # type: ignore[arg-type]


def test_something_is_left_to_train_on() -> None:
    kept, held = hold_out([tile(f"a_{row}_0") for row in range(3)], 0.99)
    assert len(kept) == 1 and len(held) == 2


def test_statistics_are_those_of_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [tile("a", 1), tile("b", 2)]
    pixels = (
        torch.cat([example.picture.read(0, 0, 6, 5).flatten(1) for example in examples], 1).double() / 255
    )
    mean, std = statistics(examples)
    assert mean == pytest.approx(pixels.mean(1).tolist()) and std == pytest.approx(
        pixels.std(1, correction=0).tolist()
    )
    monkeypatch.setattr(picture_sets, "MIDDLE", 2)
    middle = (
        torch.cat([example.picture.read(2, 1, 2, 2).flatten(1) for example in examples], 1).double() / 255
    )
    assert statistics(examples)[0] == pytest.approx(middle.mean(1).tolist())
    with pytest.raises(DataError, match="b has 1 planes, but a has 3"):
        statistics([tile("a"), tile("b", planes=1)])


def write(root: Path, names: list[str], values: tuple[int, ...]) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for name in names:
        pillow.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(
            root / "images" / f"{name}.png"
        )
        pillow.fromarray(draw.choice(np.array(values, np.uint8), (8, 8))).save(root / "masks" / f"{name}.png")


def test_folders_with_and_without_a_test_part(tmp_path: Path) -> None:
    names = [f"a_{row}_{column}" for row in range(4) for column in range(5)]
    write(tmp_path / "one", names, (0, 255))
    one = load_pictures(tmp_path / "one", seed=3, block=2)
    assert is_picture_set(tmp_path / "one") and (len(one.train) + len(one.test), one.classes, one.maps) == (
        20,
        2,
        1,
    )
    assert [e.name for e in one.test] == [
        e.name for e in hold_out(sorted([*one.train, *one.test], key=lambda e: e.name), 0.2, 3, 2)[1]
    ]
    assert one.normalise == statistics(one.train) and one.name == "one"
    write(tmp_path / "two" / "train", names[:3], (0, 1, 4, IGNORED))
    write(tmp_path / "two" / "val", names[3:5], (0, 1))
    two = load_pictures(tmp_path / "two")
    assert is_picture_set(tmp_path / "two") and (len(two.train), len(two.test), two.classes, two.maps) == (
        3,
        2,
        5,
        5,
    )
    assert two.validation is None
    write(tmp_path / "two" / "test", names[5:9], (0, 1))
    three = load_pictures(tmp_path / "two")
    assert three.validation is not None and (len(three.train), len(three.validation), len(three.test)) == (
        3,
        2,
        4,
    )
    assert not is_picture_set(tmp_path) and not is_picture_set(tmp_path / "none")
    write(tmp_path / "empty", names[:3], (0,))
    with pytest.raises(DataError, match="hold class 0 alone"):
        load_pictures(tmp_path / "empty")


@pytest.mark.parametrize("part", ["val", "test"])
def test_classes_are_those_of_all_parts(part: str, tmp_path: Path) -> None:
    """A class that the training masks lack ended a training where it was to be judged."""
    names = [f"a_{row}_0" for row in range(8)]
    write(tmp_path / "train", names[:4], (0, 1, 2))
    write(tmp_path / "test", names[4:6], (0, 1))
    write(tmp_path / "val", names[6:], (0, 1))
    write(tmp_path / part, names[6:], (0, 3))
    found = load_pictures(tmp_path)
    assert (found.classes, found.maps) == (4, 4)


@pytest.mark.parametrize("ignore", [0, 3, 255])
def test_a_label_to_ignore_is_nobodys_class(tmp_path: Path, ignore: int) -> None:
    """Whatever the label of void pixels is, they are neither trained on nor counted."""
    values = tuple(value for value in (0, 1, 2, 3) if value != ignore)
    write(tmp_path / "set", ["a_0_0", "a_0_1", "a_1_0"], (*values, ignore))
    found = load_pictures(tmp_path / "set", ignore=ignore)
    assert found.classes == 1 + max(values)
    masks = [example.mask.read(0, 0, 8, 8) for example in found.train if example.mask is not None]
    assert set(torch.cat(masks).unique().tolist()) == {*values, IGNORED}
    with pytest.raises(DataError, match="0 to 255"):
        load_pictures(tmp_path / "set", ignore=256)


def test_masks_are_binary_together_or_not_at_all(tmp_path: Path) -> None:
    """Of a set with classes and void pixels, a mask with nothing but ground and void is no binary one, in
    whichever part it lies.
    """
    for part, values in (("train", (0, 1, 2, IGNORED)), ("val", (0, 2)), ("test", (0, IGNORED))):
        write(tmp_path / part, ["a", "b"], values)
    write(tmp_path / "train", ["void"], (0, IGNORED))
    found = load_pictures(tmp_path)
    void = {example.name: example for example in found.train}["void"]
    for example in (void, *found.test):
        assert example.mask is not None
        assert set(example.mask.read(0, 0, 8, 8).unique().tolist()) == {0, IGNORED}
    assert found.classes == 3


def test_pictures_of_other_planes_are_told_of_in_every_part(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for part in ("train", "val", "test"):
        write(tmp_path / part, ["a", "b"], (0, 1))
    pillow.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "test" / "images" / "b.png")
    with pytest.raises(DataError, match="b has 1 planes, but a has 3: store all pictures in colours"):
        load_pictures(tmp_path)


def test_parts_and_masks_go_by_any_usual_name(tmp_path: Path) -> None:
    for part, names in (("Training", ["a", "b", "c"]), ("testing", ["d"]), ("Valid", ["e", "f"])):
        write(tmp_path / part, names, (0, 1, 2))
        (tmp_path / part / "images").rename(tmp_path / part / "JPEGImages")
        (tmp_path / part / "masks").rename(tmp_path / part / "Annotations")
    found = load_pictures(tmp_path)
    assert is_picture_set(tmp_path) and found.validation is not None
    assert (len(found.train), len(found.validation), len(found.test)) == (3, 2, 1)


def test_a_part_that_is_not_read_is_told(tmp_path: Path) -> None:
    write(tmp_path / "one" / "train", ["a", "b", "c"], (0, 1, 2))
    write(tmp_path / "one" / "dev", ["d"], (0, 1, 2))
    with pytest.warns(UserWarning, match="dev is not read"):
        load_pictures(tmp_path / "one")
    write(tmp_path / "two", ["a", "b", "c"], (0, 1, 2))
    write(tmp_path / "two" / "test", ["d"], (0, 1, 2))
    with pytest.raises(DataError, match="test beside pictures of its own: put these into train"):
        load_pictures(tmp_path / "two")
