from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from prunus.data import load
from prunus.errors import DataError, MissingExtraError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def write(
    path: Path, colour: object = (10, 20, 30), size: tuple[int, int] = (8, 6), mode: str = "RGB"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Five cats and five dogs without a test part."""
    root = tmp_path / "pets"
    for number in range(5):
        write(root / "cat" / f"{number}.png", (200, number, 0))
        write(root / "dog" / "more" / f"{number}.PNG", (0, number, 100))
    return root


def test_a_plain_folder_is_split(pets: Path) -> None:
    data = load(str(pets))
    assert data.name == "pets"
    assert data.classes == ("cat", "dog")
    assert data.image_shape == (3, 6, 8)
    assert torch.bincount(data.train.labels).tolist() == [4, 4]
    assert torch.bincount(data.test.labels).tolist() == [1, 1]
    assert data.train.images[data.train.labels == 0, 0].unique().tolist() == [200]
    again = load("pets", pets.parent)
    assert torch.equal(again.test.images, data.test.images)


@pytest.mark.parametrize("part", ["test", "val"])
def test_train_and_test_folders(pets: Path, tmp_path: Path, part: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    pets.rename(root / "train")
    write(root / part / "dog" / "a.png")
    data = load(str(root))
    assert (len(data.train), len(data.test)) == (10, 1)
    assert data.test.labels.tolist() == [1]
    write(root / part / "bird" / "a.png")
    with pytest.raises(DataError, match=r"classes without training images .*: bird"):
        load(str(root))


def test_every_image_gets_one_size_by_the_short_side_and_a_centre_crop(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("a", "b"):
        write(root / name / "1.png", size=(4, 4))
    wide = Image.new("RGB", (24, 8), (255, 0, 0))
    wide.paste((0, 255, 0), (8, 0, 16, 8))
    wide.save(root / "a" / "2.png")
    data = load(str(root), image_size=4)
    images = torch.cat([data.train.images, data.test.images])
    assert images.shape[1:] == (3, 4, 4)
    green = [image for image in images if int(image[1].max()) == 255]
    assert len(green) == 1
    assert int(green[0][1, :, 1:3].min()) == 255
    assert int(green[0][0, :, 1:3].max()) == 0


def test_grey_images_have_one_plane_unless_one_is_coloured(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("a", "b"):
        for number in range(2):
            write(root / name / f"{number}.png", 77, mode="L")
    assert load(str(root)).image_shape == (1, 6, 8)
    assert load(str(root)).train.images.unique().tolist() == [77]
    write(root / "a" / "9.png", 1, mode="P")
    assert load(str(root)).image_shape == (3, 6, 8)


@pytest.mark.parametrize(("suffix", "options"), [("jpg", {}), ("tif", {"compression": "tiff_lzw"})])
def test_images_are_turned_as_the_camera_says(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    root = tmp_path / "set"
    turned = Image.new("RGB", (8, 6), (0, 0, 0))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(2):
            turned.save(root / name / f"{number}.{suffix}", exif=exif, **options)
    assert load(str(root)).image_shape == (3, 8, 6)


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_a_bad_image_is_named(pets: Path, content: bytes | str) -> None:
    path = pets / "dog" / "more" / "3.PNG"
    if isinstance(content, str):
        Image.effect_noise((40, 40), 50).save(path)
        content = path.read_bytes()[:500]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"dog/more/3\.PNG is no readable image"):
        load(str(pets))


def test_a_first_image_that_cannot_be_read_is_named_too(pets: Path) -> None:
    (pets / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cat/0\.png is no readable image"):
        load(str(pets))


@pytest.mark.parametrize("link", ["cat/9.png", "zebra"])
def test_a_link_to_nowhere_is_told(pets: Path, link: str) -> None:
    (pets / link).symlink_to(pets / "not here")
    with pytest.raises(DataError, match=f"{link} is a link to nowhere: mend it, or remove it"):
        load(pets)


def test_images_of_16_bits_are_refused(pets: Path) -> None:
    write(pets / "cat" / "deep.png", 40_000, mode="I;16")
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits"):
        load(str(pets))


def test_folders_without_classes_or_images_are_refused(tmp_path: Path, pets: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no class folders"):
        load(str(tmp_path / "empty"))
    (pets / "bird").mkdir()
    with pytest.raises(DataError, match="bird has no images"):
        load(str(pets))
    with pytest.raises(DataError, match="at least 1 pixel, not 0"):
        load(str(pets), image_size=0)


def test_too_few_classes_or_images_to_judge_by_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "few"
    write(root / "cat" / "0.png")
    with pytest.raises(DataError, match="one class folder alone, cat, and nothing to tell it apart from"):
        load(str(root))
    write(root / "dog" / "0.png")
    with pytest.raises(DataError, match="one image of every class, and none can be held out to test on"):
        load(str(root))
    write(root / "dog" / "1.png")
    data = load(str(root))
    with pytest.raises(DataError, match=r"one training sample of every class, .* to choose by"):
        data.hold_out(0.1)


def test_progress_counts_images(pets: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    load(str(pets), progress=lambda *call: seen.append(call))
    assert seen == [("pets", number, 10) for number in range(1, 11)]


def test_without_pillow_the_extra_is_named(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'prunus\[images\]'"):
        load(str(pets))


def test_validation_images_of_a_set_are_what_is_held_out(pets: Path) -> None:
    for part, number in (("train", 4), ("val", 2), ("test", 3)):
        for kind in ("cat", "dog"):
            for index in range(number):
                write(pets.parent / "parts" / part / kind / f"{index}.png", (number, index, 0))
    data = load(str(pets.parent / "parts"))
    train, validation = data.hold_out(0.1)
    assert data.validation is validation and train is data.train
    assert (len(train), len(validation), len(data.test)) == (8, 4, 6)
    assert {int(one) for one in validation.images[:, 0].unique()} == {2}


@pytest.mark.parametrize("names", [("training", "testing", "valid"), ("Train", "TEST", "Val")])
def test_parts_go_by_any_usual_name(pets: Path, names: tuple[str, str, str]) -> None:
    root = pets.parent / "parts"
    for part, number in zip(names, (4, 3, 2)):
        for kind in ("cat", "dog"):
            for index in range(number):
                write(root / part / kind / f"{index}.png")
    data = load(str(root))
    assert data.classes == ("cat", "dog") and data.validation is not None
    assert (len(data.train), len(data.test), len(data.validation)) == (8, 6, 4)


def test_a_class_may_be_called_train(pets: Path) -> None:
    write(pets / "train" / "0.png")
    write(pets / "train" / "1.png")
    assert load(str(pets)).classes == ("cat", "dog", "train")


def test_a_folder_beside_the_parts_that_is_not_read_is_told(pets: Path) -> None:
    root = pets.parent / "parts"
    root.mkdir()
    pets.rename(root / "train")
    write(root / "holdout" / "dog" / "a.png")
    with pytest.warns(
        UserWarning, match="holdout is not read: the parts of a set are named train, val and test"
    ):
        load(str(root))
    write(root / "val" / "dog" / "a.png")
    write(root / "validation" / "dog" / "a.png")
    with pytest.raises(DataError, match=r"parts has val and validation, which mean the same"):
        load(str(root))


@pytest.mark.parametrize(
    "places",
    [("test/cat", "val/cat"), ("train_images", "train_masks"), ("cat", "dog", "test/cat", "test/dog")],
)
def test_parts_pictures_and_masks_are_no_classes(tmp_path: Path, places: tuple[str, ...]) -> None:
    for place in places:
        for number in range(3):
            write(tmp_path / place / f"{number}.png")
    with pytest.raises(
        DataError, match=r"would be (a class|classes): the parts of a set are train, test and val"
    ):
        load(str(tmp_path))


@pytest.mark.parametrize("names", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_pictures_with_masks_are_no_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        write(tmp_path / name / "0.png")
        write(tmp_path / name / "1.png")
    with pytest.raises(DataError, match=r"holds pictures and masks, .*\.load_pictures reads them"):
        load(str(tmp_path))


def test_a_link_to_a_folder_elsewhere_is_told(pets: Path, tmp_path: Path) -> None:
    write(tmp_path / "disk" / "9.png")
    (pets / "cat" / "again").symlink_to("..")
    assert len(load(str(pets)).train) == 8
    (pets / "cat" / "archive").symlink_to(tmp_path / "disk")
    with pytest.raises(DataError, match="archive is a link to a folder, which is not followed"):
        load(str(pets))
