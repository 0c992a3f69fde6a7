"""`save_coded`, and what `load` does with such a file: a network whose weights are integers on grids, indices
of codebooks, or as they are. The bytes are those of `docs/coded-file.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.atomic import write_atomically
from prunus.coding import CodedTensor, container, values_of
from prunus.coding.container import ABOUT, SKELETON
from prunus.coding.table import Entry
from prunus.errors import FileFormatError, PrunusError, clause
from prunus.storage.coded_changes import described
from prunus.storage.coded_model import built_from, model_of
from prunus.storage.coded_network import OWN, Network, to_bytes
from prunus.storage.coded_tensors import entries_of
from prunus.storage.lock import settle
from prunus.surgery.origin import Origin


@door(FileFormatError)
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

    A network of the catalogue, compact or dense, and a traced one stand alone; one of another class is
    restored into what a function of the user's makes.

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
    entries = entries_of(model, tensors)
    network, order = described(model, entries)
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
        return model_of(str(path), sections, build_model, device)
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {clause(error)}.") from error


def is_coded_file(path: Path) -> bool:
    """Whether a file begins as a coded network does; what is no file, or cannot be read, does not."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return container.is_coded(file.read(16))
    except OSError:
        return False


@door(FileFormatError)
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


@door(FileFormatError)
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


def file_entries(model: nn.Module) -> list[Entry]:
    """A model's own values, in the order in which a coded file has its tensors.

    Raises FileFormatError where the model has no form in such a file.
    """
    entries = entries_of(model, {})
    return [entries[name] for name in described(model, entries)[1]]


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
            built_from(sections, found)
        except PrunusError as error:
            raise FileFormatError(
                f"It could not be read again, so it is not saved: {clause(error)}."
            ) from error


__all__ = ["file_entries", "is_coded_file", "load_coded", "read_about", "read_coded", "save_coded"]
