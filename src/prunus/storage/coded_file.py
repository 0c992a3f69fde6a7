"""`save_coded`, and what `load` does with such a file: a network whose weights are integers on grids, indices of
codebooks, or as they are. The bytes are those of `docs/coded-file.md`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.atomic import write_atomically
from prunus._foundation.finite import warn_of_nonfinite
from prunus.coding import CodedTensor, Plain, container, values_of
from prunus.coding.container import ABOUT, NETWORK, PLAN, SKELETON, Sections
from prunus.coding.table import DTYPES, Entry, shape_of
from prunus.errors import FileFormatError, PlanError, PrunusError, clause
from prunus.models.built import Built, built_as
from prunus.models.catalogue import build_recorded
from prunus.paint.model_copy import meta_twin, named_tensors, walk
from prunus.paint.widths import Share, Width, kept_in, plain_class
from prunus.plans.plan import Plan
from prunus.storage.assembly import fill, keep_widths, rebind, set_learning, shortened
from prunus.storage.coded_network import (
    CATALOGUE,
    OPTIONS,
    OWN,
    TRACED,
    Changes,
    Network,
    from_bytes,
    to_bytes,
)
from prunus.storage.header import traced_fields
from prunus.storage.lock import settle
from prunus.storage.traced_format import traced_from_data, traced_to_data
from prunus.surgery.blocks import left_out
from prunus.surgery.origin import Origin
from prunus.surgery.places import size_at, sizes_of
from prunus.surgery.slicing import Rebind, Surgery, layer_sizes, rebind_attributes
from prunus.surgery.traced.module import TracedModule

_DENSE = "prunus_dense"  # on a model that was read with build_model=, what that made, without data
_MOST_DENSE, _DENSE_SHARE = 1 << 25, 256  # elements of a library's network, and per element in the file


def save_coded(
    model: nn.Module,
    tensors: Mapping[str, CodedTensor],
    path: str | Path,
    *,
    skeleton: bytes = b"",
    about: Mapping[str, Any] | None = None,
    plan: bool = False,
) -> int:
    """Write a network with coded weights to a file, atomically.

    A network of the catalogue, compact or dense, and a traced one stand alone; one of another class is restored
    into what a function of the user's makes.

    Args:
        model: the network; its own values do not matter where `tensors` has others.
        tensors: coded ones by the names of the model's parameters and buffers; those that are missing are
            stored as the model has them.
        path: the file.
        skeleton: of `prunus.deploy.skeleton`, so that the file can be made an ONNX file without torch.
        about: JSON data for people, which only `read_about` reads.
        plan: keep what was removed, so that a compact network that is read can be saved as such by `save`.

    Returns:
        The file's size [bytes].

    Raises FileFormatError where the model has no form in such a file, or the tensors are not the model's.
    """
    data = coded_bytes(model, tensors, skeleton=skeleton, about=about, plan=plan)
    write_atomically(Path(path), data)
    return len(data)


def coded_bytes(
    model: nn.Module,
    tensors: Mapping[str, CodedTensor],
    *,
    skeleton: bytes = b"",
    about: Mapping[str, Any] | None = None,
    plan: bool = False,
) -> bytes:
    """What `save_coded` writes. Raises FileFormatError likewise."""
    entries = _entries(model, tensors)
    network, order = _described(model, entries)
    origin = getattr(model, "prunus", None)
    data = container.write(
        to_bytes(network),
        [entries[name] for name in order],
        plan=origin.plan.to_json() if plan and isinstance(origin, Origin) else "",
        skeleton=skeleton,
        about=_plain_json(about),
    )
    _check_whole(data, network, entries, order)
    return data


def load_coded(path: Path, build_model: Callable[[], nn.Module] | None, device: torch.device) -> nn.Module:
    """The network of a coded file; see `storage.load`."""
    sections = _read(path)
    try:
        return _model(str(path), sections, build_model, device)
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {clause(error)}.") from error


def is_coded_file(path: Path) -> bool:
    """Whether a file begins as a coded network does; what cannot be read does not."""
    try:
        with path.open("rb") as file:
            return container.is_coded(file.read(16))
    except OSError:
        return False


def read_about(path: str | Path) -> Mapping[str, Any]:
    """What a coded file tells people; empty if it tells nothing. Raises FileFormatError."""
    path = Path(path)
    sections = _read(path)
    try:
        found = json.loads(sections[ABOUT].content) if ABOUT in sections else {}
        if not isinstance(found, dict):
            raise FileFormatError("Its notes are no JSON object.")
        return found
    except (FileFormatError, ValueError, RecursionError) as error:
        raise FileFormatError(f"The notes of {path} cannot be read: {clause(error)}.") from error


def read_coded(path: str | Path) -> tuple[list[Entry], bytes]:
    """The tensors of a coded file, in its order, and its ONNX skeleton, b"" if it has none.

    Raises FileFormatError.
    """
    path = Path(path)
    sections = _read(path)
    try:
        return container.tensors(sections), sections[SKELETON].content if SKELETON in sections else b""
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be read: {clause(error)}.") from error


def _read(path: Path) -> dict[int, container.Section]:
    """The sections of a file whose checksum fits."""
    settle(path.parent)
    if not path.is_file():
        raise FileFormatError(f"{path} does not exist.")
    try:
        return container.read(path.read_bytes())
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {clause(error)}.") from error
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read ({error.strerror or error}).") from error


# -- writing ---------------------------------------------------------------------------------------------------


def _entries(model: nn.Module, tensors: Mapping[str, CodedTensor]) -> dict[str, Entry]:
    """The model's own tensors, each once under its first name, with the values that they are to have."""
    first = {id(tensor): name for name, tensor in named_tensors(model).items()}
    every = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name in tensors:
        if name not in every:
            raise FileFormatError(f"{type(model).__name__} has no tensor {name!r}, so it is not saved.")
    coded = {first[id(every[name])]: value for name, value in tensors.items()}
    found = {}
    for name, tensor in named_tensors(model).items():
        entry = _entry(coded[name], tensor) if name in coded else _as_it_is(name, tensor)
        if shape_of(entry.coded) != tuple(tensor.shape) or entry.dtype != _dtype_name(tensor):
            raise FileFormatError(
                f"{name} is coded with shape {shape_of(entry.coded)} as {entry.dtype}, but the model has it with"
                f" shape {tuple(tensor.shape)} as {_dtype_name(tensor)}, so it is not saved."
            )
        found[name] = entry
    return found


def _entry(coded: CodedTensor, tensor: Tensor) -> Entry:
    if not isinstance(coded, Plain):
        return Entry(coded)
    name = _dtype_name(tensor)
    fits = DTYPES.get(name) is not None and np.dtype(DTYPES[name]) == coded.values.dtype.newbyteorder("<")
    return Entry(coded, name if fits else str(coded.values.dtype))


def _as_it_is(name: str, tensor: Tensor) -> Entry:
    """A tensor in its own type; raises FileFormatError where that has no form in a file."""
    dtype = _dtype_name(tensor)
    if dtype not in DTYPES:
        raise FileFormatError(f"{name} is of type {dtype}, which has no form in a coded file.")
    values = tensor.detach().to("cpu").contiguous()
    if DTYPES[dtype] in ("<u2", "|u1") and dtype != "uint8":
        values = values.view(torch.uint8 if DTYPES[dtype] == "|u1" else torch.uint16)
    return Entry(Plain(values.numpy()), dtype)


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _described(model: nn.Module, entries: Mapping[str, Entry]) -> tuple[Network, list[str]]:
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
        dense = shortened(_on_meta(built.name, dict(built.options)), left_out(model))
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
        {k: v for k, v in vars(module).items() if type(v) in plain and k != "training"}
        for module in (one, other)
    )
    return mine != theirs


def _network(
    model: nn.Module, mode: int, order: Sequence[str], changes: Changes, name: str = "", **more: Any
) -> Network:
    learning = {key: p.requires_grad for key, p in model.named_parameters()}
    frozen: tuple[bool, ...] | bool = tuple([not learning.get(key, True) for key in order])
    if not any(frozen):
        frozen = False
    elif not any(learning.values()):
        frozen = True
    return Network(
        mode, name or type(model).__name__, model.training, frozen, more.pop("options", {}), changes, **more
    )


def _dense_of(model: nn.Module) -> nn.Module:
    """What the user's function makes, without data and without the blocks that were left out."""
    noted, origin = vars(model).get(_DENSE), getattr(model, "prunus", None)
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
    _follow_shapes(rebuilt)
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


def _follow_shapes(model: nn.Module) -> None:
    """Let the layers' sizes be those of their weights."""
    modules = walk(model)
    found = layer_sizes(modules, lambda name, tensor: tuple(tensor.shape))
    rebind_attributes(modules, [Rebind(module, name, value) for (module, name), value in found.items()])


def _plain_json(about: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    try:
        return None if about is None else dict(json.loads(json.dumps(about)))
    except (TypeError, ValueError) as error:
        raise FileFormatError(
            f"What the file should tell people is no JSON data ({clause(error)})."
        ) from error


def _check_whole(data: bytes, network: Network, entries: Mapping[str, Entry], order: Sequence[str]) -> None:
    """Read what was written, and compare every bit; raises FileFormatError."""
    sections = container.read(data)
    found = container.tensors(sections)
    for name, entry in zip(order, found, strict=True):
        one, other = values_of(entries[name].coded), values_of(entry.coded)
        if one.shape != other.shape or np.ascontiguousarray(one).tobytes() != other.tobytes():
            raise FileFormatError(f"{name} would be read with other values than it has, so it is not saved.")
    if network.mode != OWN:
        try:
            _built(sections, found)
        except PrunusError as error:
            raise FileFormatError(
                f"It could not be read again, so it is not saved: {clause(error)}."
            ) from error


# -- reading ---------------------------------------------------------------------------------------------------


def _model(
    where: str, sections: Sections, build_model: Callable[[], nn.Module] | None, device: torch.device
) -> nn.Module:
    """The network of a file, as it was when it was saved."""
    entries = container.tensors(sections)
    model, order, dense = _built(sections, entries, build_model, device, where)
    network = from_bytes(sections[NETWORK].content)
    warn_of_nonfinite(named_tensors(model), where)
    frozen = [True] * len(order) if network.frozen is True else network.frozen or [False] * len(order)
    if len(frozen) != len(order):
        raise FileFormatError("It says which tensors learn for another number of tensors.")
    set_learning(where, model, {name for name, one in zip(order, frozen) if one}, network.training)
    if PLAN in sections:
        _hang_origin(model, sections[PLAN].content, network, dense)
    if network.mode == OWN and dense is not None:
        object.__setattr__(model, _DENSE, dense)
    return model


def _built(
    sections: Sections,
    entries: Sequence[Entry],
    build_model: Callable[[], nn.Module] | None = None,
    device: torch.device = torch.device("cpu"),
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
    return _cut(where, network, entries, build_model().to(device), device)


def _traced(
    network: Network, entries: Sequence[Entry], device: torch.device
) -> tuple[nn.Module, list[str], None]:
    assert network.traced is not None
    fields = traced_fields(network.traced)
    order = list(dict.fromkeys(fields.places.values()))
    model = traced_from_data(fields, _named(order, entries, device), device)
    _finish("The file", model, list(walk(model)), network.changes)
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
    _follow_shapes(model)
    _finish(where, model, modules, network.changes)
    return model, order, meta_twin(dense).model


def _finish(where: str, model: nn.Module, modules: Sequence[str], changes: Changes) -> None:
    rebind(model, [Rebind(_at(modules, place), name, value) for place, name, value in changes.rebinds])
    widths = [Width(_at(modules, place), count, *share) for place, count, share in changes.widths]
    keep_widths(where, model, widths)


def _at(modules: Sequence[str], place: int) -> str:
    if place >= len(modules):
        raise FileFormatError(f"It speaks of module {place}, and its network has {len(modules)}.")
    return modules[place]


def _named(order: Sequence[str], entries: Sequence[Entry], device: torch.device) -> dict[str, Tensor]:
    if len(order) != len(entries) or len(set(order)) != len(order):
        raise FileFormatError(f"It holds {len(entries)} tensors where its network has {len(order)}.")
    return {name: _tensor(entry).to(device) for name, entry in zip(order, entries)}


def _tensor(entry: Entry) -> Tensor:
    values: NDArray[Any] = values_of(entry.coded)
    tensor = torch.from_numpy(np.ascontiguousarray(values).reshape(values.shape))
    dtype: torch.dtype = getattr(torch, entry.dtype)
    return tensor if tensor.dtype == dtype else tensor.view(dtype)


def _on_meta(name: str, options: Mapping[str, Any]) -> nn.Module:
    """A network of the catalogue without data."""
    with torch.device("meta"):
        return build_recorded(name, options)


def _from_catalogue(network: Network, entries: Sequence[Entry], device: torch.device) -> nn.Module:
    """The dense network that a file names: ours without data, a library's with random ones, if it is of a size
    that what the file holds can have been cut out of.
    """
    try:
        dense = _on_meta(network.name, network.options)
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


__all__ = ["is_coded_file", "load_coded", "read_about", "read_coded", "save_coded"]
