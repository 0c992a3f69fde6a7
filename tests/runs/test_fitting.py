"""Data for networks whose folders say how the planes were normalised that they were trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prunus.runs.data import Data, Source, open_network, read_data
from prunus.runs.fitting import fitted
from prunus.runs.loading import Opened
from prunus.runs.settings import Network

OTHER = ((0.25,), (0.5,))


def opened(source: Source, name: str = "out", **said: object) -> Opened:
    return replace(open_network(Network("lenet5"), source), name=name, **said)  # type: ignore[arg-type]


def test_what_a_network_says_goes_before_what_other_data_say() -> None:
    source = read_data(Data("digits"))
    found, (note,) = fitted(source, opened(source), opened(source, normalise=OTHER))
    assert found.task().normalise == OTHER and source.task().normalise != OTHER
    images, _ = next(found.task().batches("test", 5))
    pixels = source.task().samples("test").images[:5] / 255
    assert np.allclose(images, (pixels - 0.25) / 0.5, atol=1e-6)
    assert "normalised as out was trained, by mean 0.25 and deviation 0.5, and not by their own" in note


@pytest.mark.parametrize("case", ["unsaid", "same", "other planes", "typed", "at odds"])
def test_the_data_say_where_no_network_does(case: str) -> None:
    source = read_data(Data("digits", mean="0.1" if case == "typed" else ""))
    own = source.task().normalise
    others: dict[str, list[Any]] = {
        "unsaid": [None],
        "same": [own],
        "other planes": [((0.1,) * 3, (0.2,) * 3)],
        "typed": [OTHER],
        "at odds": [OTHER, ((0.5,), (0.5,))],
    }
    found, notes = fitted(source, *(opened(source, normalise=one) for one in others[case]))
    assert found is source
    told = {"typed": 1, "at odds": 2}.get(case, 0)
    assert len(notes) == told and all("and out was trained on mean" in note for note in notes)


def test_pictures_are_normalised_alike(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for name in "abcdef":
            pixels = draw.integers(0, 256 if kind == "images" else 3, (32, 32), dtype=np.uint8)
            pillow.fromarray(pixels).save(tmp_path / kind / f"{name}.png")
    source = read_data(Data(str(tmp_path)))
    network = replace(open_network(Network("unet"), source), normalise=OTHER)
    found, notes = fitted(source, network)
    assert found.pictures is not None and found.pictures.normalise == OTHER and len(notes) == 1


def test_classes_of_other_names_are_told_of() -> None:
    source = read_data(Data("digits"))
    names = source.task().classes
    found, (note,) = fitted(source, opened(source, classes=tuple(reversed(names))))
    assert found is source and "The classes of out are 9, 8, 7, 6 …, and those of digits 0, 1, 2, 3 …" in note
    assert not fitted(source, opened(source, classes=names))[1]
