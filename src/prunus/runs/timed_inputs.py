"""What networks are timed on: one batch that all of them take, of the data, or made up in the shapes that
their plans, their files or their names say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree
from torch.utils._pytree import tree_map_only

from prunus._foundation.sizes import MOST_ELEMENTS
from prunus._foundation.wording import dtype_name
from prunus.deploy.inputs import tensors
from prunus.deploy.onnx_file import Taken, taken
from prunus.errors import ConfigError
from prunus.runs.data import Source, inputs_of
from prunus.surgery.parts import is_core
from prunus.training.calls import samples_in
from prunus.training.evaluation import placement

if TYPE_CHECKING:
    from prunus.measure.runtimes import Network as Timed
    from prunus.runs.loading import Opened


@dataclass(frozen=True, eq=False)
class Entrant:
    """A network that is to be timed.

    Attributes:
        network: the module, or the ONNX file.
        takes: its tensors, in the order in which it is called with them.
        arguments: tensors of these shapes as it is called with them; None where it takes one, or is a file,
            which takes them in any form.
        known: whether these are all; what is built by a name says only the one by which it is told.
        record: for the result.
    """

    network: Timed
    takes: tuple[Taken, ...]
    arguments: Any
    known: bool
    record: Mapping[str, Any]


def of_file(text: str) -> Entrant:
    """An ONNX file. Raises ConfigError where there is none, FileFormatError where it cannot be read."""
    if not Path(text).is_file():
        raise ConfigError(f"{text} cannot be read as an ONNX file: there is no such file.")
    return Entrant(Path(text), taken(text), None, True, {"name": text})


def of_model(opened: Opened, core: nn.Module) -> Entrant:
    """A network that was opened, or its core."""
    from prunus.runs.shapes import planned_arguments

    several = planned_arguments(opened.model)
    shapes: list[tuple[int | None, ...]] = (
        [opened.input_shape] if several is None else [tuple(tensor.shape) for tensor in tensors(several)]
    )
    kinds = [placement(core)[1]] if several is None else [tensor.dtype for tensor in tensors(several)]
    known = several is not None or is_core(core) or hasattr(opened.model, "prunus")
    takes = tuple(Taken(shape, kind) for shape, kind in zip(shapes, kinds))
    return Entrant(core, takes, several, known, opened.record())


def common(entrants: Mapping[str, Entrant]) -> tuple[Taken, ...]:
    """The tensors that all take; None for a first axis that nobody gives a length. Raises ConfigError for
    other shapes, types or numbers of tensors, and for other axes that are free.
    """
    first = next((name for name, entrant in entrants.items() if entrant.known), next(iter(entrants)))
    found = list(entrants[first].takes)
    for name, entrant in entrants.items():
        places = _places(entrant, found)
        if places is None:
            raise ConfigError(
                f"{first} takes {_written(found)} and {name} takes {_written(entrant.takes)}: give"
                " --input-shape for all."
            )
        for place, other in zip(places, entrant.takes):
            mine = found[place]
            numbers = mine.dtype.is_floating_point and other.dtype.is_floating_point
            if mine.dtype != other.dtype and (numbers or entrant.known):
                raise ConfigError(
                    f"{first} has {dtype_name(mine.dtype)} weights and {name} has {dtype_name(other.dtype)},"
                    " which take other inputs: time each by itself."
                )
            found[place] = Taken(tuple(a or b for a, b in zip(mine.shape, other.shape)), mine.dtype)
    if any(None in one.shape[1:] for one in found):
        raise ConfigError(
            f"{first} takes {_written(found)}, which leaves axes free: name it beside a model of one shape."
        )
    return tuple(found)


def batch(
    entrants: Mapping[str, Entrant], takes: Sequence[Taken], source: Source | None, size: int
) -> Tensor | tuple[Any, ...] | dict[str, Any]:
    """What all are called with, of so many samples: the inputs of the data over and over, or made up. Raises
    ConfigError where the data are of other shapes.
    """
    if source is None:
        return _made(entrants, takes, size)
    task = source.task(takes[0].shape[-1] if takes[0].shape else None)
    found = inputs_of(task, torch.empty(0), size)[1]
    found = found[0] if isinstance(found, (tuple, list)) and len(found) == 1 else found
    there = [Taken(tuple(tensor.shape), tensor.dtype) for tensor in tensors(found)]
    if any(_places(entrant, there) is None for entrant in entrants.values()):
        raise ConfigError(
            f"The inputs of {source.data.name} are {_written(there, 1)}, and the models take"
            f" {_written(takes, 1)}: time them without --data."
        )
    count, kind = samples_in(found), next((one.dtype for one in takes if one.dtype.is_floating_point), None)

    def resized(tensor: Tensor) -> Tensor:
        tensor = tensor.to(kind or tensor.dtype) if tensor.is_floating_point() else tensor
        if not tensor.dim() or len(tensor) != count:
            return tensor
        return tensor.repeat(-(-size // count), *[1] * (tensor.dim() - 1))[:size]

    resulting: Tensor | tuple[Any, ...] | dict[str, Any] = tree_map_only(Tensor, resized, found)
    return resulting


def _made(
    entrants: Mapping[str, Entrant], takes: Sequence[Taken], size: int
) -> Tensor | tuple[Any, ...] | dict[str, Any]:
    """Seeded noise, and zeros where whole numbers are taken, which are places in a table as often as not."""
    before, generator = takes[0].shape[:1], torch.Generator().manual_seed(0)

    def drawn(one: Taken) -> Tensor:
        shape = [length or size for length in one.shape]
        if one.shape and one.shape[:1] == before:
            shape[0] = size
        if torch.Size(shape).numel() > MOST_ELEMENTS:
            raise ConfigError(
                f"A batch of {size:,} is a tensor of {'×'.join(map(str, shape))}, and an input may have at"
                f" most {MOST_ELEMENTS:,} elements: give a smaller --batch."
            )
        if not one.dtype.is_floating_point:
            return torch.zeros(shape, dtype=one.dtype)
        return torch.randn(shape, generator=generator).to(one.dtype)

    leaves = [drawn(one) for one in takes]
    form = next((entrant.arguments for entrant in entrants.values() if entrant.arguments is not None), None)
    if form is None:
        return leaves[0] if len(leaves) == 1 else tuple(leaves)
    fresh = iter(leaves)
    every, nest = _pytree.tree_flatten(form)
    filled = [next(fresh) if isinstance(leaf, Tensor) else leaf for leaf in every]
    made: tuple[Any, ...] | dict[str, Any] = _pytree.tree_unflatten(filled, nest)
    return made


def _places(entrant: Entrant, there: Sequence[Taken]) -> Sequence[int] | None:
    """Which of some tensors a network takes, if their shapes are its own but for the samples: all in their
    order, or the one that is known of it. None if they are others.
    """
    if entrant.known:
        fit = len(there) == len(entrant.takes) and all(map(_alike, there, entrant.takes))
        return range(len(there)) if fit else None
    return next(([place] for place, one in enumerate(there) if _alike(one, entrant.takes[0])), None)


def _alike(first: Taken, second: Taken) -> bool:
    """Whether two shapes are one but for the samples, as far as both say."""
    pairs = list(zip(first.shape, second.shape))[1:]
    return len(first.shape) == len(second.shape) and not any(m and n and m != n for m, n in pairs)


def _written(takes: Sequence[Taken], axis: int = 0) -> str:
    """Shapes, from an axis on."""
    shown = [
        "×".join("?" if n is None else str(n) for n in one.shape[axis:]) or "one number" for one in takes
    ]
    return " and ".join(shown) or "no tensors"
