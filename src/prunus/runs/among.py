"""Where a run's folder must not lie: among the data that it reads."""

from __future__ import annotations

from pathlib import Path

from prunus.data import default_root, names
from prunus.data.idx import is_idx_folder
from prunus.data.layout import IMAGE_FOLDERS, MASK_FOLDERS, PART_FOLDERS, parts_of
from prunus.data.paths import is_folder
from prunus.data.picture_sets import is_picture_set
from prunus.errors import ConfigError
from prunus.runs.data import Data


def check_apart(folder: Path, data: Data) -> None:
    """Raises ConfigError where what is written into a folder would be read as data, now or the next time: in
    a folder of images of one class, or in the place of one, or among pictures or masks.
    """
    if data.name in names():
        return
    for place in (Path(data.name).expanduser(), (data.root or default_root()) / data.name):
        if is_folder(place) and not is_idx_folder(place) and _reads(place, folder):
            raise ConfigError(
                f"{folder} lies in {data.name}, and is read by this command: -o names another folder."
            )


def _reads(data: Path, folder: Path) -> bool:
    """Whether images are looked for in a folder, or in one that it lies in."""
    home, own = data.resolve(), folder.resolve()
    if home not in own.parents:
        return False
    inside = [name.lower() for name in own.relative_to(home).parts]
    if is_picture_set(data):
        return bool({*IMAGE_FOLDERS, *MASK_FOLDERS} & {*inside})
    return parts_of(data).train == data or inside[0] in PART_FOLDERS
