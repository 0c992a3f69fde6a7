"""Pictures with masks, as commands read them: where they are, what is held out, and the networks that fit
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.runs.loading import Opened, open_model
from prunus.runs.texts import parse_planes

if TYPE_CHECKING:
    from prunus.data.picture_sets import PictureSet
    from prunus.data.pictures import Example
    from prunus.tasks.pictures import PictureTask
    from prunus.training import Normalise

OURS = ("unet", "ternausnet")  # they take any number of planes
SIDE, STEP = 256, 32
TEST_SEED = 0


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is trained on, what is chosen by, what nothing is chosen by, and how all are normalised; `window`:
    side of windows, if given.
    """

    found: PictureSet
    train: list[Example]
    held: list[Example]
    normalise: Normalise
    window: int | None = None

    @property
    def test(self) -> list[Example]:
        """Pictures to report on."""
        return self.found.test

    @property
    def planes(self) -> int:
        """Of every picture."""
        return len(self.found.mean)

    @property
    def side(self) -> int:
        """Of windows, where nothing says another: 256, or what the smallest picture to train on has of it, in
        steps of 32.
        """
        if self.window is not None:
            return self.window
        smallest = min(min(example.picture.shape[1:]) for example in self.train)
        return max(min(SIDE, smallest // STEP * STEP), STEP)

    def task(self, side: int, windows: int | None = None, batch_size: int | None = None) -> PictureTask:
        """Segmentation of them in windows of so many pixels a side."""
        from prunus.tasks.pictures import pictures_task

        given = {"windows": windows, "batch_size": batch_size}
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return pictures_task(self.found, self.train, self.held, normalise=self.normalise, side=side, **chosen)

    def limited(self, count: int, seed: int) -> Pictures:
        """So many pictures of every part at most, drawn by chance; those to report on are always the same."""
        found = replace(self.found, test=_some(self.test, count, TEST_SEED))
        return replace(
            self, found=found, train=_some(self.train, count, seed), held=_some(self.held, count, seed)
        )

    def record(self) -> dict[str, Any]:
        """For the result."""
        mean, std = self.normalise
        counts = {"train": len(self.train), "validation": len(self.held), "test": len(self.test)}
        block = {"block": self.found.block} if self.found.block > 1 else {}
        return {"name": self.found.name, **counts, "mean": list(mean), "std": list(std), **block}


def _some(pictures: list[Example], count: int, seed: int) -> list[Example]:
    import torch

    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[:count]
    return [pictures[place] for place in order.sort().values.tolist()]


def is_file_of_a_model(name: str) -> bool:
    """Whether a name is of a folder or a file, whose network has a shape of its own."""
    return name.endswith(".safetensors") or Path(name).exists()


def picture_folder(name: str, root: Path | None) -> Path | None:
    """The folder that a name stands for, if it holds pictures with masks."""
    from prunus.data import default_root, names
    from prunus.data.picture_sets import is_picture_set

    places = () if name in names() else (Path(name).expanduser(), (root or default_root()) / name)
    return next((place for place in places if is_picture_set(place)), None)


def read_pictures(
    folder: Path, mean: str, std: str, share: float, seed: int, block: int = 1, ignore: int = 255
) -> Pictures:
    """Read a folder; of its training pictures a share is held out, unless it has validation pictures. What it
    is tested on is the same for every seed: what one run trains on, no other may report on.
    """
    from prunus.data.picture_sets import hold_out, load_pictures

    found = load_pictures(folder, TEST_SEED, block, ignore)
    kept, held = found.train, found.validation or []
    if share and found.validation is None:
        kept, held = hold_out(found.train, share, seed, block)
    planes = len(found.mean)
    return Pictures(
        found,
        kept,
        held,
        (parse_planes(mean, planes, "mean") or found.mean, parse_planes(std, planes, "std") or found.std),
    )


def open_for_pictures(
    name: str,
    pictures: Pictures,
    shape: tuple[int, ...] | None,
    *,
    weights: Path | None = None,
    pretrained: bool = False,
    build_name: str = "",
) -> Opened:
    """A network with as many maps and planes as the pictures need."""
    file = is_file_of_a_model(name)
    known = not file and ":" not in name  # a factory of the user's own knows its maps
    options = (
        {"num_classes": pictures.found.maps} | ({"in_channels": pictures.planes} if name in OURS else {})
        if known
        else {}
    )
    shape = shape or (None if file else (1, pictures.planes, pictures.side, pictures.side))
    return open_model(
        name, weights=weights, shape=shape, options=options, pretrained=pretrained, build_name=build_name
    )
