"""What a coded file says of a network besides its tensors: what builds it, and what differs from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from prunus.coding.table import Entry, shape_of
from prunus.errors import FileFormatError, PrunusError
from prunus.models.built import Built, built_as
from prunus.paint.model_copy import meta_twin, named_tensors, walk
from prunus.paint.widths import Share, kept_in, plain_class
from prunus.storage.assembly import fill, shortened
from prunus.storage.coded_model import DENSE, follow_shapes, on_meta
from prunus.storage.coded_network import CATALOGUE, OPTIONS, OWN, TRACED, Changes, Network
from prunus.storage.traced_format import traced_to_data
from prunus.surgery.blocks import left_out
from prunus.surgery.origin import Origin
from prunus.surgery.places import size_at, sizes_of
from prunus.surgery.traced.module import TracedModule


def described(model: nn.Module, entries: Mapping[str, Entry]) -> tuple[Network, list[str]]:
    """How the network is built, and its tensors in the order of the file."""
    if isinstance(model, TracedModule):
        traced = traced_to_data(model)
        order = list(dict.fromkeys(source for _, source in traced["places"]))
        changes = Changes(widths=_widths(model, walk(model)))
        return _network(model, TRACED, order, changes, traced=traced), order
    built = built_as(model)
    if built is not None and set(dict(built.options)) <= set(OPTIONS):
        found = _by_catalogue(model, built, entries)
        if found is not None:
            return found
    dense = _dense_of(model)
    order, changes = _changes(model, dense, entries)
    return _network(model, OWN, order, changes), order


def _by_catalogue(
    model: nn.Module, built: Built, entries: Mapping[str, Entry]
) -> tuple[Network, list[str]] | None:
    """The network as one of the catalogue; None if it is no longer what that builds."""
    try:
        dense = shortened(on_meta(built.name, dict(built.options)), left_out(model))
        order, changes = _changes(model, dense, entries)
    except PrunusError:
        return None
    own, theirs = walk(model), walk(dense)
    if any(_differ(own[name], theirs[name]) for name in theirs):
        return None
    network = _network(model, CATALOGUE, order, changes, name=built.name, options=dict(built.options))
    return network, order


def _differ(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are of other classes, or set otherwise in what is no size."""
    if plain_class(type(one)) is not plain_class(type(other)):
        return True
    plain = (bool, float, str, type(None))
    mine, theirs = (
        {k: v for k, v in vars(module).items() if type(v) in plain and k not in ("training", "prunus")}
        for module in (one, other)
    )
    return mine != theirs


def _network(
    model: nn.Module, mode: int, order: Sequence[str], changes: Changes, name: str = "", **more: Any
) -> Network:
    learning = {key: p.requires_grad for key, p in model.named_parameters()}
    bits = [not learning.get(key, True) for key in order]
    frozen: tuple[bool, ...] | bool = tuple(bits)
    if not any(bits):
        frozen = False
    elif not any(learning.values()):
        frozen = True
    return Network(
        mode, name or type(model).__name__, model.training, frozen, more.pop("options", {}), changes, **more
    )


def _dense_of(model: nn.Module) -> nn.Module:
    """What the user's function makes, without data and without the blocks that were left out."""
    noted, origin = vars(model).get(DENSE), getattr(model, "prunus", None)
    dense = noted if noted is not None else origin.dense if isinstance(origin, Origin) else None
    return dense if dense is not None else meta_twin(model).model


def _changes(model: nn.Module, dense: nn.Module, entries: Mapping[str, Entry]) -> tuple[list[str], Changes]:
    """The order of the tensors, and what differs from the dense network beside their shapes.

    Raises FileFormatError or PlanError where the model is not cut out of that network.
    """
    numbers = {name: place for place, name in enumerate(walk(dense))}
    own = named_tensors(dense)
    more = [name for name in entries if name not in own]
    order = [*own, *more]
    blank = {
        name: torch.empty(shape_of(entries[name].coded), device="meta") for name in order if name in entries
    }
    rebuilt = fill("The model", dense, blank, cut=True)
    follow_shapes(rebuilt)
    modules, theirs = walk(model), walk(rebuilt)
    if modules.keys() != theirs.keys():
        raise FileFormatError(f"{type(model).__name__} has other modules than what it was cut out of.")
    rebinds = [
        (numbers[name], place, size_at(modules[name], place))
        for name in theirs
        for place in {**sizes_of(theirs[name]), **sizes_of(modules[name])}
        if size_at(modules[name], place) != size_at(theirs[name], place)
    ]
    return order, Changes(
        left_out(model),
        tuple([numbers[name.rpartition(".")[0]] for name in more]),
        tuple(rebinds),
        _widths(model, theirs),
    )


def _widths(model: nn.Module, modules: Mapping[str, nn.Module]) -> tuple[tuple[int, int, Share], ...]:
    numbers = {name: place for place, name in enumerate(modules)}
    return tuple([(numbers[w.module], w.number, Share(*w[2:])) for w in kept_in(walk(model))])


__all__ = ["described"]
