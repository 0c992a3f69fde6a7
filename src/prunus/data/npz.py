"""Arrays in `.npz` files: what they are of is told by their names, and what they cost by their headers,
before any of them is read.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from torch import Tensor

from prunus._foundation.system_faults import refused
from prunus._foundation.wording import MOST_SAID
from prunus.data import limits
from prunus.data.layout import tell_unread
from prunus.data.paths import AnyPath, as_file, shown
from prunus.data.unpack import RATIO
from prunus.errors import DataError, PrunusError, clause

Part = Literal["train", "validation", "test"]
PARTS: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
INPUTS, TARGETS = ("inputs", "x", "images", "data", "signals"), ("targets", "y", "labels", "masks")
SUFFIX = ".npz"
MOST_AXES = 8
_FORMAT: Any = np.lib.format  # untyped
KINDS = "buif"  # truth values, whole numbers without and with a sign, numbers with a point


@dataclass(frozen=True, eq=False)
class Arrays:
    """Samples of one part, as they lie in a file, in the machine's own byte order.

    Attributes:
        inputs: (samples, …).
        targets: (samples, …).
    """

    inputs: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class _Header:
    """What is written before an array: its shape and kind, and where it begins in its file [bytes]."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int

    @property
    def memory(self) -> int:
        """Bytes as they are kept: bytes as they are, all else as four or more."""
        return math.prod(self.shape) * (1 if self.dtype == np.uint8 else max(self.dtype.itemsize, 4))


def read_npz(path: AnyPath) -> dict[Part, Arrays]:
    """Read the samples of a file that `numpy.savez` or `numpy.savez_compressed` wrote, nothing of which is
    ever unpickled.

    Arrays are known by their names: `train_inputs` and `train_targets`, and the same with `test` and `val`;
    or `inputs` and `targets` alone, which are then all to train on. For `inputs` may stand `x`, `images`,
    `data` or `signals`, for `targets` `y`, `labels` or `masks`, and the part may also come last, as in
    `x_train`. Other arrays are left alone.

    Args:
        path: the file.

    Returns:
        "train", and "validation" and "test" where the file has them.

    Raises:
        DataError: no such file, a damaged one, arrays that are missing, twice there, of objects or texts, of
            other lengths, empty, or not finite, or more than `limits.MEMORY` in all; the text names file and
            array.
    """
    file = as_file(path)
    with _opened(file) as archive:
        found = _named(archive, file)
        headers = {name: _header(archive, name, file) for pair in found.values() for name in pair}
        _check(found, headers, file)
        _tell_unread(archive.namelist(), found, file)
        return {
            part: Arrays(*(_read(archive, name, headers[name], file) for name in pair))
            for part, pair in found.items()
        }


def is_npz(name: str) -> bool:
    """Whether a name is that of such a file."""
    return name.lower().endswith(SUFFIX)


def tensor_of(array: np.ndarray[Any, Any]) -> Tensor:
    """An array as float32, or as it is where it holds bytes."""
    return torch.from_numpy(
        np.ascontiguousarray(array, dtype=np.uint8 if array.dtype == np.uint8 else np.float32)
    )


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """The archive. Raises DataError, inside the `with` too, for whatever cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except PrunusError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and the file system have errors of many kinds
        if (denied := refused(error)) is not None:
            raise DataError(f"Cannot read {shown(file)}: {clause(denied)}.") from error
        why = error.strerror if isinstance(error, OSError) else None  # it was led astray in the file
        raise DataError(
            f"{shown(file)} is no .npz file, as numpy.savez writes it, or a damaged one"
            f" ({why or clause(error)[:MOST_SAID]})."
        ) from error


def _named(archive: zipfile.ZipFile, file: Path) -> dict[Part, tuple[str, str]]:
    """The names of inputs and targets of every part."""
    entries = archive.namelist()
    if len(entries) > limits.MEMBERS:
        raise DataError(f"{shown(file)} has {len(entries):,} arrays; {limits.MEMBERS:,} are the limit.")
    names = [entry.removesuffix(".npy") for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{shown(file)} has the array {_short(twice)} twice.")
    found: dict[Part, tuple[str, str]] = {}
    for part, words in PARTS.items():
        pair = tuple(_one(names, _spelled(words, kind), file) for kind in (INPUTS, TARGETS))
        if pair[0] is not None and pair[1] is not None:
            found[part] = pair[0], pair[1]
        elif pair != (None, None):
            there = pair[0] or pair[1]
            raise DataError(
                f"{shown(file)} has {there} and no {words[0]}_{'targets' if pair[0] else 'inputs'} that"
                " belong to it."
            )
    alone = tuple(_one(names, kind, file) for kind in (INPUTS, TARGETS))
    if "train" not in found and not found and alone[0] is not None and alone[1] is not None:
        return {"train": (alone[0], alone[1])}
    if "train" not in found:
        shown_names = ", ".join(map(_short, names[:8])) + (" …" if len(names) > 8 else "") or "nothing"
        raise DataError(
            f"{shown(file)} needs the arrays train_inputs and train_targets, or inputs and targets; it has"
            f" {shown_names}."
        )
    return found


def _tell_unread(entries: list[str], found: Mapping[Part, tuple[str, str]], file: Path) -> None:
    """Warn of inputs that are of no part that is known, such as x_dev."""
    read = {name for pair in found.values() for name in pair}
    names = [entry.removesuffix(".npy") for entry in entries]
    unread = [
        name
        for name in names
        if name not in read and len(words := name.lower().split("_")) <= 2 and {*words} & {*INPUTS}
    ]
    tell_unread(file, [_short(name) for name in unread])


def _spelled(parts: tuple[str, ...], kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for part in parts for kind in kinds for name in (f"{part}_{kind}", f"{kind}_{part}"))


def _one(names: list[str], wanted: tuple[str, ...], file: Path) -> str | None:
    """The array that has one of these names, in capitals or not."""
    found = [name for name in names if name.lower() in wanted]
    if len(found) > 1:
        raise DataError(
            f"{shown(file)} has {found[0]} and {found[1]}, which mean the same: keep one of them."
        )
    return found[0] if found else None


def _header(archive: zipfile.ZipFile, name: str, file: Path) -> _Header:
    """The header of an array, checked against what the archive says of its size."""
    what = f"The array {name} in {shown(file)}"
    entry = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    with archive.open(entry) as stream:
        shape, dtype, start = _stated(stream, what)
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects, which only pickle reads, and prunus never does: save it as"
            " numbers."
        )
    if dtype.kind not in KINDS or dtype.itemsize > 8:
        raise DataError(
            f"{what} holds {_short(str(dtype))}, where whole numbers or float16, float32 or float64 are"
            " needed."
        )
    size = math.prod(shape) * dtype.itemsize
    if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1:
        raise DataError(
            f"{what} has the shape {_short(str(shape))}: the first axis is that of the samples, and no axis"
            " may be empty."
        )
    if entry.file_size != start + size or entry.file_size > RATIO * entry.compress_size + start:
        raise DataError(
            f"{what} states a shape of {shape}, {start + size:,} bytes in all, and is not as long: the file"
            " is damaged."
        )
    return _Header(shape, dtype, start)


def _stated(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, kind, and the length of the header."""
    try:
        version = _FORMAT.read_magic(stream)
        read = {(1, 0): _FORMAT.read_array_header_1_0, (2, 0): _FORMAT.read_array_header_2_0}[version]
        shape, _, dtype = read(stream)
    except (zipfile.BadZipFile, OSError, EOFError):
        raise
    except Exception as error:  # whatever a header that is none makes of numpy's parser
        raise DataError(f"{what} is no array that numpy wrote: its header cannot be read.") from error
    return tuple(shape), dtype, stream.tell()


def _check(found: Mapping[Part, tuple[str, str]], headers: Mapping[str, _Header], file: Path) -> None:
    """Lengths that belong together, one shape of samples in all parts, and room for all of it."""
    needed = sum(header.memory for header in headers.values())
    if needed > limits.MEMORY:
        raise DataError(
            f"The arrays in {shown(file)} need {limits.in_words(needed)} of memory, and"
            f" {limits.in_words(limits.MEMORY)} is the limit: save fewer samples, or give"
            " package.module:function, which reads them in batches."
        )
    first = found["train"]
    for inputs, targets in found.values():
        counts = headers[inputs].shape[0], headers[targets].shape[0]
        if counts[0] != counts[1]:
            raise DataError(
                f"{shown(file)} has {counts[0]:,} {inputs} and {counts[1]:,} {targets}: every sample needs"
                " its target."
            )
        for name, like in zip((inputs, targets), first):
            mine, other = headers[name].shape[1:], headers[like].shape[1:]
            if mine != other:
                raise DataError(
                    f"In {shown(file)} one sample of {name} has the shape {mine}, but one of {like} {other}."
                )
            alike = [
                (one.dtype.kind == "f", name == inputs and one.dtype == np.uint8)  # bytes may be pictures
                for one in (headers[name], headers[like])
            ]
            if alike[0] != alike[1]:
                raise DataError(
                    f"In {shown(file)} {name} holds {headers[name].dtype}, but {like} {headers[like].dtype}."
                )


def _read(archive: zipfile.ZipFile, name: str, header: _Header, file: Path) -> np.ndarray[Any, Any]:
    """An array whose header is known. Raises DataError where it holds what is no number."""
    with archive.open(name if name in archive.namelist() else f"{name}.npy") as stream:
        array: np.ndarray[Any, Any] = _FORMAT.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise DataError(f"The array {name} in {shown(file)} is longer than its header states.")
    array = array.astype(header.dtype.newbyteorder("="), copy=False)
    if header.dtype.kind == "f":
        with np.errstate(over="ignore"):
            single = array.astype(np.float32, copy=False)
        bad = _not_finite(single)
        if bad is not None:
            raise DataError(
                f"The array {name} in {shown(file)} holds NaN or infinity, at sample {bad} first: no network"
                " can learn from that."
            )
        return single
    return array


def _not_finite(array: np.ndarray[Any, Any]) -> int | None:
    """The first sample with a number that is not finite."""
    for first in range(0, len(array), 4096):
        fine = np.isfinite(array[first : first + 4096]).reshape(len(array[first : first + 4096]), -1).all(1)
        if not fine.all():
            return first + int(np.argmin(fine))
    return None


def _short(text: str) -> str:
    """A text of a file in a sentence."""
    plain = shown(text)
    return plain if len(plain) <= 40 else f"{plain[:37]}…"
