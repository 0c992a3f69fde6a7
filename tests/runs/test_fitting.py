"""Data for networks whose folders say how the planes were normalised that they were trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prunus.runs.data import Data, Source, open_network, read_data
from prunus.runs.fitting import chosen_among_seen, fitted
from prunus.runs.loading import Opened
from prunus.runs.records import record_beside
from prunus.runs.settings import Network
from prunus.tasks.words import record_of

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


def _tiles(folder: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for row in range(6):
            for column in range(6):
                pixels = draw.integers(0, 256 if kind == "images" else 3, (32, 32), dtype=np.uint8)
                pillow.fromarray(pixels).save(folder / kind / f"town_{row}_{column}.png")


def _tested(source: Source) -> list[str]:
    assert source.pictures is not None
    return [example.name for example in source.pictures.test]


def test_what_is_reported_on_is_the_same_for_every_seed(tmp_path: Path) -> None:
    """A network was reported on pictures that it was trained on, once the second command had another seed."""
    _tiles(tmp_path)
    read = {seed: read_data(Data(str(tmp_path), seed=seed)) for seed in (0, 1)}
    assert _tested(read[0]) == _tested(read[1])
    few = {seed: read_data(Data(str(tmp_path), seed=seed, limit=3)) for seed in (0, 1)}
    assert _tested(few[0]) == _tested(few[1]) and set(_tested(few[0])) < set(_tested(read[0]))
    drawn = [read_data(Data("digits", seed=seed, limit=30)).task() for seed in (0, 1)]
    one, other = drawn
    assert torch.equal(one.samples("test").images, other.samples("test").images)
    assert not torch.equal(one.samples("train").images, other.samples("train").images)


def test_tiles_are_held_out_in_the_squares_that_a_network_was_trained_with(tmp_path: Path) -> None:
    _tiles(tmp_path)
    source, blocks = (read_data(Data(str(tmp_path), block=block)) for block in (1, 3))
    assert blocks.task().block == 3 and record_of(blocks.task())["block"] == 3  # type: ignore[attr-defined]
    network = replace(open_network(Network("unet"), source), name="out")
    found, (note,) = fitted(source, replace(network, block=3))
    assert _tested(found) == _tested(blocks) != _tested(source)
    assert note == "Tiles are held out in squares of 3 a side, as out was trained."
    assert fitted(blocks, replace(network, block=3)) == (blocks, ())
    assert fitted(source, network) == (source, ())
    _, (said,) = fitted(source, replace(network, block=3), replace(network, block=2, name="other"))
    assert "some of those that are reported on were trained on" in said


def test_samples_to_choose_by_that_were_trained_on_are_told(tmp_path: Path) -> None:
    """A tolerance would be kept on samples that the network knows by heart."""
    source = read_data(Data("digits", seed=1))
    (note,) = chosen_among_seen(source, opened(source, split=("digits", 0)))
    assert "--seed 0, and the samples to choose by are held out by --seed 1: it was trained on most" in note
    for split in (("digits", 1), ("other", 0), None):
        assert chosen_among_seen(source, opened(source, split=split)) == ()


@pytest.mark.parametrize(
    ("file", "record"),
    [
        ("training.json", {"training": {"config": {"seed": 3}}}),
        ("training.json", {"training": {"config": {"seed": "3"}}}),
        ("training.json", {"training": []}),
    ],
)
def test_the_seed_of_a_training_is_known(tmp_path: Path, file: str, record: dict[str, Any]) -> None:
    (tmp_path / file).write_text(
        json.dumps(record | {"model": {"name": "lenet5", "data": {"name": "digits"}}})
    )
    found = record_beside(tmp_path / "model.safetensors")
    told = record == {"training": {"config": {"seed": 3}}}
    assert found is not None and found.split == (("digits", 3) if told else None)
