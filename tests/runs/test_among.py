"""A run's folder does not lie among what the run reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus import runs
from prunus.errors import ConfigError
from prunus.runs.among import check_apart
from prunus.runs.data import Data
from prunus.runs.recipe import Recipe

SETS = {
    "classes": ("cats", "dogs"),
    "parts": ("train/cats", "train/dogs", "test/cats", "test/dogs"),
    "pictures": ("images", "masks"),
    "parts of pictures": ("train/images", "train/masks"),
}
READ = {
    "classes": ("out", "cats", "cats/out"),
    "parts": ("train/out", "test", "test/cats/out"),
    "pictures": ("images", "masks/out"),
    "parts of pictures": ("train/images/out",),
}
APART = {
    "classes": (".", "../out"),
    "parts": (".", "out", "../out"),
    "pictures": (".", "out"),
    "parts of pictures": ("out", "train/out"),
}


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("named", ["by path", "below a folder", "by a link"])
def test_in_every_kind_of_set(kind: str, named: str, tmp_path: Path) -> None:
    place = tmp_path / "set"
    for folder in SETS[kind]:
        (place / folder).mkdir(parents=True)
    (tmp_path / "linked").symlink_to(place)
    data = {
        "by path": Data(str(place)),
        "below a folder": Data("set", root=tmp_path),
        "by a link": Data(str(tmp_path / "linked")),
    }[named]
    for folder in READ[kind]:
        with pytest.raises(ConfigError, match="is read by this command: -o names another folder"):
            check_apart(place / folder, data)
    for folder in APART[kind]:
        check_apart(place / folder, data)
    check_apart(place / "cats", Data("digits"))
    check_apart(place / "cats", Data("no/such/set"))
    check_apart(place / "cats", Data("package.module:function"))


def test_commands_say_so_before_they_make_the_folder(tmp_path: Path) -> None:
    for folder in SETS["classes"]:
        (tmp_path / "set" / folder).mkdir(parents=True)
    out = tmp_path / "set" / "out"
    with pytest.raises(ConfigError, match="is read by this command"):
        runs.prune("lenet5", out, runs.PruneSettings(rate=0.5), str(tmp_path / "set"))
    with pytest.raises(ConfigError, match="is read by this command"):
        runs.train(Recipe(data=str(tmp_path / "set"), model="lenet5"), out)
    assert not out.exists()
