"""The network of a coded file: built, given its tensors, and what surgery changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.finite import warn_of_nonfinite
from prunus.coding import container
from prunus.coding.container import NETWORK, PLAN, Sections
from prunus.coding.table import Entry, shape_of
from prunus.errors import FileFormatError, PlanError, PrunusError, clause
from prunus.models.catalogue import build_recorded
from prunus.paint.model_copy import meta_twin, named_tensors, walk
from prunus.paint.widths import Width
from prunus.plans.plan import Plan
from prunus.storage.assembly import dense_of, fill, keep_widths, rebind, set_learning, shortened
from prunus.storage.coded_network import CATALOGUE, OWN, TRACED, Changes, Network, from_bytes
from prunus.storage.coded_tensors import tensor_of
from prunus.storage.header import traced_fields
from prunus.storage.traced_format import traced_from_data
from prunus.surgery.origin import Origin
from prunus.surgery.slicing import Rebind, Surgery, layer_sizes, rebind_attributes

DENSE = "prunus_dense"  # on a model that was read with build_model=, what that made, without data
_MOST_DENSE, _DENSE_SHARE = 1 << 25, 256  # elements of a library's network, and per element in the file
_CPU = torch.device("cpu")


def model_of(
    where: str, sections: Sections, build_model: Callable[[], nn.Module] | None, device: torch.device
) -> nn.Module:
    """The network of a file, as it was when it was saved."""
    entries = container.tensors(sections)
    model, order, dense = built_from(sections, entries, build_model, device, where)
    network = from_bytes(sections[NETWORK].content)
    warn_of_nonfinite(named_tensors(model), where)
    frozen = [True] * len(order) if network.frozen is True else network.frozen or [False] * len(order)
    if len(frozen) != len(order):
        raise FileFormatError("It says which tensors learn for another number of tensors.")
    set_learning(model, {name for name, one in zip(order, frozen) if one}, network.training)
    if PLAN in sections:
        _hang_origin(model, sections[PLAN].content, network, dense)
    if network.mode == OWN and dense is not None:
        object.__setattr__(model, DENSE, dense)
    return model


def built_from(
    sections: Sections,
    entries: Sequence[Entry],
    build_model: Callable[[], nn.Module] | None = None,
    device: torch.device = _CPU,
    where: str = "The file",
) -> tuple[nn.Module, list[str], nn.Module | None]:
    """The network, the names of its tensors in the order of the file, and the dense one without data."""
    network = from_bytes(sections[NETWORK].content)
    if network.mode == TRACED:
        return _traced(network, entries, device)
    if network.mode == OWN and build_model is None:
        raise FileFormatError(
            f"It holds a {network.name} in its own class; give build_model=, a function that makes the dense"
            " model."
        )
    if network.mode == CATALOGUE:
        try:
            dense = _from_catalogue(network, entries, device)
            return _cut(where, network, entries, dense, device)
        except PlanError as error:
            raise FileFormatError(f"It does not hold a {network.name}: {clause(error)}.") from error
    assert build_model is not None
    return _cut(where, network, entries, dense_of(build_model, device), device)


def _traced(
    network: Network, entries: Sequence[Entry], device: torch.device
) -> tuple[nn.Module, list[str], None]:
    assert network.traced is not None
    fields = traced_fields(network.traced)
    order = list(dict.fromkeys(fields.places.values()))
    model = traced_from_data(fields, _named(order, entries, device), device)
    _finish(model, list(walk(model)), network.changes)
    return model, order, None


def _cut(
    where: str, network: Network, entries: Sequence[Entry], dense: nn.Module, device: torch.device
) -> tuple[nn.Module, list[str], nn.Module]:
    """A dense network with the tensors of the file and what surgery changed."""
    dense = shortened(dense, network.changes.left_out)
    modules = list(walk(dense))
    biases = [f"{_at(modules, place)}.bias".lstrip(".") for place in network.changes.biases]
    order = [*named_tensors(dense), *biases]
    model = fill(where, dense, _named(order, entries, device), cut=True)
    follow_shapes(model)
    _finish(model, modules, network.changes)
    return model, order, meta_twin(dense).model


def _finish(model: nn.Module, modules: Sequence[str], changes: Changes) -> None:
    rebind(model, [Rebind(_at(modules, place), name, value) for place, name, value in changes.rebinds])
    widths = [Width(_at(modules, place), count, *share) for place, count, share in changes.widths]
    keep_widths(model, widths)


def _at(modules: Sequence[str], place: int) -> str:
    if place >= len(modules):
        raise FileFormatError(f"It speaks of module {place}, and its network has {len(modules)}.")
    return modules[place]


def _named(order: Sequence[str], entries: Sequence[Entry], device: torch.device) -> dict[str, Tensor]:
    if len(order) != len(entries) or len(set(order)) != len(order):
        raise FileFormatError(f"It holds {len(entries)} tensors where its network has {len(order)}.")
    return {name: tensor_of(entry).to(device) for name, entry in zip(order, entries)}


def follow_shapes(model: nn.Module) -> None:
    """Let the layers' sizes be those of their weights."""
    modules = walk(model)
    found = layer_sizes(modules, lambda name, tensor: tuple(tensor.shape))
    rebind_attributes(modules, [Rebind(module, name, value) for (module, name), value in found.items()])


def on_meta(name: str, options: Mapping[str, Any]) -> nn.Module:
    """A network of the catalogue without data."""
    with torch.device("meta"):
        return build_recorded(name, options)


def _from_catalogue(network: Network, entries: Sequence[Entry], device: torch.device) -> nn.Module:
    """The dense network that a file names: ours without data, a library's with random ones, if it is of a
    size that what the file holds can have been cut out of.
    """
    try:
        dense = on_meta(network.name, network.options)
        if "/" not in network.name:
            return dense
        size = sum(tensor.numel() for tensor in named_tensors(dense).values())
        most = _MOST_DENSE + _DENSE_SHARE * sum(math.prod(shape_of(entry.coded)) for entry in entries)
        if size > most:
            raise FileFormatError(
                f"It names {network.name}, whose {size:,} numbers are out of proportion to those of the file."
            )
        return build_recorded(network.name, network.options).to(device)
    except FileFormatError:
        raise
    except Exception as error:  # builders of libraries raise errors of many kinds
        raise FileFormatError(f"Its network cannot be built: {clause(error)}.") from error


def _hang_origin(model: nn.Module, plan: bytes, network: Network, dense: nn.Module | None) -> None:
    try:
        found = Plan.from_json(plan.decode())
    except (UnicodeDecodeError, PrunusError) as error:
        raise FileFormatError(f"Its plan cannot be read: {clause(error)}.") from error
    rebinds: dict[tuple[str, str], Any] = {}
    if dense is not None:
        shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(model).items()}
        modules = walk(dense)
        rebinds = layer_sizes(modules, lambda name, tensor: shapes.get(name, tuple(tensor.shape)))
        rebinds |= {
            (_at(list(modules), place), name): value for place, name, value in network.changes.rebinds
        }
    surgery = Surgery({}, tuple([Rebind(module, name, value) for (module, name), value in rebinds.items()]))
    mode = "traced" if network.mode == TRACED else "eager"
    object.__setattr__(model, "prunus", Origin(found, mode, surgery, None, dense=dense))


__all__ = ["DENSE", "built_from", "follow_shapes", "model_of", "on_meta"]
