"""Data as the networks expect them that are run or trained on them: what the folder of a network says of its
planes goes before what other data say of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from prunus.data.npz import is_npz
from prunus.errors import DataError
from prunus.runs.data import Source, is_own, read_data

if TYPE_CHECKING:
    from prunus.runs.loading import Opened
    from prunus.training import Normalise

NEAR = 1e-6  # between means and deviations that are the same


def fitted(source: Source, *networks: Opened) -> tuple[Source, tuple[str, ...]]:
    """The data with their planes normalised as the folders of networks say that these were trained, unless
    somebody typed another mean or deviation, or a function of the user's chose them; and what a reader should
    know where that is not as the data say, or where classes have other names.
    """
    source, alike = _held_out_alike(source, networks)
    said = [one for one in networks if one.normalise is not None]
    own = _normalise(source)
    notes = [
        *alike,
        *(
            f"The classes of {one.name} are {_list(one.classes)}, and those of {source.data.name}"
            f" {_list(classes)}: they are compared by their order."
            for one in networks
            if one.classes and (classes := source.task().classes) and one.classes != classes
        ),
    ]
    if not said or own is None:
        return source, tuple(notes)
    first = said[0]
    assert first.normalise is not None
    others = [one.name for one in said if not _same(one.normalise, first.normalise)]
    typed = bool(source.data.mean or source.data.std) or is_own(source.data.name)
    if len(first.normalise[0]) != len(own[0]) or (_same(own, first.normalise) and not others):
        return source, tuple(notes)
    if typed or others:
        notes += [
            f"The planes of {source.data.name} are normalised by {_words(own)}, and {one.name} was trained on"
            f" {_words(one.normalise)}."
            for one in said
            if one.normalise is not None and not _same(one.normalise, own)
        ]
        return source, tuple(notes)
    notes.append(
        f"The planes of {source.data.name} are normalised as {first.name} was trained, by"
        f" {_words(first.normalise)}, and not by their own {_words(own)}; --mean and --std say otherwise."
    )
    return _with(source, first.normalise), tuple(notes)


def _held_out_alike(source: Source, networks: Sequence[Opened]) -> tuple[Source, tuple[str, ...]]:
    """Tiles of pictures held out in the squares in which they were when a network was trained, unless
    somebody typed others: it would be judged on tiles that it has seen.
    """
    blocks = {one.block: one.name for one in networks if one.block > 1}
    if source.pictures is None or source.data.block > 1 or not blocks:
        return source, ()
    (block, name), *others = blocks.items()
    if others:
        return source, (
            f"{name} and {others[0][1]} were trained with tiles held out in squares of {block} and"
            f" {others[0][0]} a side: some of those that are reported on were trained on.",
        )
    with suppress(DataError):  # pictures that are no tiles: other ones
        found = read_data(replace(source.data, block=block))
        return found, (f"Tiles are held out in squares of {block} a side, as {name} was trained.",)
    return source, ()


def chosen_among_seen(source: Source, *networks: Opened) -> tuple[str, ...]:
    """What a reader should know where what is chosen by was trained on: held out of the same data by another
    seed.
    """
    images, pictures = source.images, source.pictures
    if pictures is not None:
        drawn = pictures.found.validation is None
    else:
        drawn = images is not None and images.validation is None and not is_npz(source.data.name)
    name = source.task().name
    return tuple(
        f"{one.name} was trained on {name} with --seed {one.split[1]}, and the samples to choose by are held"
        f" out by --seed {source.data.seed}: it was trained on most of them, so figures on them are too good."
        f" --seed {one.split[1]} holds out the same."
        for one in networks
        if drawn and one.split is not None and one.split[0] == name and one.split[1] != source.data.seed
    )


def continued(source: Source, network: Opened) -> tuple[Source, str]:
    """The data for a training that goes on with a network: normalised as the folder of the network says that
    it was trained, unless somebody typed another mean or deviation, or a function of the user's chose them;
    and what a reader should know where that is not as the data say ("" = nothing). Classes may be others.
    """
    found, notes = fitted(source, replace(network, classes=()))
    return found, " ".join(notes)


def _normalise(source: Source) -> Normalise | None:
    return source.pictures.normalise if source.pictures is not None else source.task().normalise


def _with(source: Source, normalise: Normalise) -> Source:
    if source.pictures is not None:
        return replace(source, pictures=replace(source.pictures, normalise=normalise))
    return replace(source, own=replace(source.task(), normalise=normalise))


def _same(one: Normalise | None, other: Normalise | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(len(a) == len(b) and all(abs(x - y) < NEAR for x, y in zip(a, b)) for a, b in zip(one, other))


def _words(normalise: Normalise) -> str:
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in normalise)
    return f"mean {mean} and deviation {std}"


def _list(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


__all__ = ["chosen_among_seen", "continued", "fitted"]
