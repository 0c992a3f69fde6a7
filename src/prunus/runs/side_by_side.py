"""Test samples with what the dense and the compact network make of them, for the report of a run.

Which are shown follows a rule that the report says, so that nobody, and no chance, has picked them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prunus._foundation.finite import NO_CLASS
from prunus.data.pictures import IGNORED
from prunus.runs import drawing
from prunus.runs.by_class import names_of
from prunus.runs.sample_kinds import Boxes, Classes, Masks, SampleKind, kind_of
from prunus.tasks import Samples
from prunus.tasks.pictures import Pictures
from prunus.tasks.words import normalisation_of
from prunus.training.evaluation import mode

if TYPE_CHECKING:
    from PIL.Image import Image

    from prunus.tasks import Task
    from prunus.training.feeding import Normalise

FIRST, DIFFERENT = 3, 3  # samples with masks or boxes that are shown: the first, and where most differs
DISAGREED = 12  # samples of one class that are shown
LOOKED_AT = 1000  # test samples, so that a large set costs no more
SIDES = {1: ("compact",), 2: ("dense", "compact")}
NO_PILLOW = "Pictures need Pillow, which is not installed: pip install 'prunus[images]'."


@dataclass(frozen=True)
class SideBySide:
    """What a report shows of test samples.

    Attributes:
        panel: which samples, why, and how much the networks differ on them; plain data, for `result.json`.
        images: pictures as data URIs, by the names that the panel has for them; for the page alone.
    """

    panel: dict[str, Any]
    images: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _Sample:
    """One test sample: its planes where it is a picture, how they were normalised, what is there, and what
    each network found.
    """

    position: int
    picture: Tensor | None
    scale: Normalise | None
    true: Any
    found: tuple[Any, ...]
    difference: float

    @property
    def pixels(self) -> Tensor:
        """The picture, uint8 (1 or 3, H, W)."""
        assert self.picture is not None
        return drawing.pixels_of(self.picture, self.scale)


def side_by_side(task: Task | None, before: nn.Module | None, after: nn.Module) -> SideBySide | None:
    """Test samples and what two networks make of them, or one where there was none before; None where the
    samples are of no kind that can be shown.
    """
    if task is None or task.test is None:
        return None
    networks = [network for network in (before, after) if network is not None]
    with ExitStack() as stack, torch.no_grad():
        for network in networks:
            stack.enter_context(mode(network, training=False))
        batches = _batches(task, networks)
        kind, samples = next(batches, (None, []))
        if kind is None:
            return None
        seen = _from_first(samples, batches)
        if isinstance(kind, Classes):
            return _of_classes(task, seen) if len(networks) == 2 else None
        return _of_pictures(task, kind, seen, SIDES[len(networks)])


def _batches(task: Task, networks: Sequence[nn.Module]) -> Iterator[tuple[SampleKind, list[_Sample]]]:
    """The first test samples, as long as they are of a kind that can be shown."""
    scale, position = _scale(task), 0
    for inputs, targets in task.batches("test", model=networks[-1]):
        outputs = [task.called(network, inputs) for network in networks]
        kind = kind_of(outputs[0], targets, getattr(task.by_class, "ignore", IGNORED))
        if kind is None or position >= LOOKED_AT:
            return
        true = kind.true(targets)
        found = list(zip(*(kind.found(one, true) for one in outputs)))
        pictures = _pictures(inputs, len(true))
        some = zip(range(position, LOOKED_AT), pictures, true, found)
        yield (
            kind,
            [
                _Sample(place, picture, scale, there, each, _difference(kind, there, each))
                for place, picture, there, each in some
            ],
        )
        position += len(true)


def _from_first(
    samples: list[_Sample], batches: Iterator[tuple[SampleKind, list[_Sample]]]
) -> Iterator[_Sample]:
    yield from samples
    for _, others in batches:
        yield from others


def _difference(kind: SampleKind, true: Any, found: tuple[Any, ...]) -> float:
    return kind.difference(true, *found) if len(found) == 2 else 0.0


def _scale(task: Task) -> Normalise | None:
    """How the planes of the test samples were normalised, where that is known."""
    return task.test.scale if isinstance(task.test, Samples) else normalisation_of(task)


def _pictures(inputs: Any, count: int) -> list[Tensor | None]:
    """The pictures of a batch, (planes, H, W); None for samples that are none."""
    first = inputs[0] if isinstance(inputs, tuple) else inputs
    each = list(first) if isinstance(first, (Tensor, list)) else []
    if len(each) != count or not all(isinstance(one, Tensor) and one.dim() == 3 for one in each):
        return [None] * count
    return each


def _of_classes(task: Task, samples: Iterator[_Sample]) -> SideBySide:
    """The first samples whose class the networks tell differently, and how many of these each has right."""
    shown: list[_Sample] = []
    right: Counter[str] = Counter()
    count = 0
    for sample in samples:
        count += 1
        if sample.difference:
            right[_right(sample)] += 1
            shown += [sample] if len(shown) < DISAGREED else []
    names = {label: label for one in shown for label in (one.true, *one.found) if label != NO_CLASS}
    named = dict(zip(names, names_of(list(names), task.classes))) | {NO_CLASS: "not a number"}
    rows = [
        {
            "position": one.position,
            "true": named[one.true],
            "dense": named[one.found[0]],
            "compact": named[one.found[1]],
            "images": [f"{one.position}"],
        }
        for one in shown
    ]
    panel = {
        "kind": "classes",
        **_looked_at(task, count),
        "differ": sum(right.values()),
        "right": {who: right[who] for who in ("dense", "compact", "neither")},
        "samples": rows,
    }
    images = {
        f"{one.position}": drawing.picture(one.pixels)
        for one in shown
        if one.picture is not None and _drawable()
    }
    return _finished(panel, images, bool(shown) and all(one.picture is not None for one in shown))


def _right(sample: _Sample) -> str:
    """Which network is right where the two differ."""
    dense, compact = (found == sample.true for found in sample.found)
    return "dense" if dense else "compact" if compact else "neither"


def _of_pictures(
    task: Task, kind: SampleKind, samples: Iterator[_Sample], sides: tuple[str, ...]
) -> SideBySide | None:
    """The first pictures, and those on which the networks differ most."""
    first: list[_Sample] = []
    most: list[_Sample] = []
    count = 0
    for sample in samples:
        count += 1
        if sample.picture is None:
            return None
        if len(first) < FIRST:
            first.append(sample)
        elif sample.difference:
            most = sorted([*most, sample], key=lambda one: (-one.difference, one.position))[:DIFFERENT]
    shown = [*first, *most]
    columns = (*(("picture",) if isinstance(kind, Masks) else ()), "true", *sides)
    labels = sorted(
        {label for one in shown for value in (one.true, *one.found) for label in kind.labels(value)}
    )
    panel = {
        "kind": "masks" if isinstance(kind, Masks) else "boxes",
        **_looked_at(task, count),
        "windows": isinstance(task.test, Pictures) and task.test.larger,
        "columns": list(columns),
        "legend": [
            {"label": label, "name": name, "colour": drawing.colour_of(label)}
            for label, name in zip(labels, names_of(labels, task.classes))
        ],
        "samples": [
            {
                "position": one.position,
                "why": "first" if one in first else "differs",
                "difference": round(one.difference, 6) if len(sides) == 2 else None,
                "images": [f"{one.position}-{column}" for column in columns],
            }
            for one in shown
        ],
    }
    images: dict[str, Image] = {}
    for one in shown if _drawable() else []:
        values = {"true": one.true, **dict(zip(sides, one.found))}
        images |= {f"{one.position}-{column}": _drawn(kind, one, values.get(column)) for column in columns}
    return _finished(panel, images, bool(shown))


def _looked_at(task: Task, count: int) -> dict[str, Any]:
    """How many samples, and whether there are more."""
    counted = task.kind("test") != "batches"
    return {"looked_at": count, "all": count == task.count("test") if counted else count < LOOKED_AT}


def _drawn(kind: SampleKind, sample: _Sample, value: Any) -> Image:
    """A picture with what is there or was found in it; without it where that is None."""
    if isinstance(kind, Boxes):
        return drawing.with_boxes(sample.pixels, value)
    rows, columns = _known_part(sample.true)
    pixels = sample.pixels[:, :rows, :columns]
    if value is None:
        return drawing.picture(pixels)
    binary = isinstance(kind, Masks) and kind.binary
    return drawing.with_mask(pixels, value[:rows, :columns], (IGNORED, NO_CLASS, *((0,) if binary else ())))


def _known_part(mask: Tensor) -> tuple[int, int]:
    """Rows and columns without those at the end of which nothing is known: a window may reach beyond its
    picture.
    """
    known = mask != IGNORED
    if not bool(known.any()):
        return mask.shape[0], mask.shape[1]
    rows, columns = (known.any(axis).nonzero().max() + 1 for axis in (1, 0))
    return int(rows), int(columns)


def _drawable() -> bool:
    return find_spec("PIL") is not None


def _finished(panel: dict[str, Any], images: Mapping[str, Image], drawn: bool) -> SideBySide:
    """`drawn`: there is something to draw."""
    note = {"note": NO_PILLOW} if drawn and not _drawable() else {}
    uris = {name: drawing.as_uri(image) for name, image in images.items()}
    return SideBySide(panel | {"drawn": drawn} | note, uris)
