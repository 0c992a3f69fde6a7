"""How long a layer takes at which widths on this machine: a table per shape, measured once and kept on disk.

Kernels work in blocks: between two multiples of a block's width nothing is won, so latency over width is a
staircase. A table holds it at the edges of the stairs, for a ladder of widths read and made, and is linear
from edge to edge.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prunus._foundation.atomic import write_atomically
from prunus._foundation.environment import environment
from prunus.errors import ConfigError, FileFormatError
from prunus.measure.shapes import Pair, Shape, Widths

Times = NDArray[np.float64]

SHARES = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)
COARSE = (
    1 / 16,
    1 / 4,
    1 / 2,
    3 / 4,
)  # for matrix products, whose time has no stairs and whose weights may be large
BLOCKS = (32, 16, 8, 4)
# treads may lie this much below the edge ahead of them, as a part of its height; they lie half of it below
# where there are no stairs
FLAT = 0.15
_SCHEMA = 2
_LONGEST = 1e12  # ms
_LARGEST = 1 << 26  # bytes of a file of tables; a table has some hundred bytes


class Probe(Protocol):
    """Times one shape at several pairs of widths."""

    def __call__(self, shape: Shape, pairs: Sequence[Pair], threads: int) -> list[float]:
        """Milliseconds per pair."""


@dataclass(frozen=True, eq=False)
class Table:
    """Milliseconds of a shape.

    Attributes:
        step: width of a stair.
        inputs: ladder of channels read, ascending.
        outputs: ladder of channels made; a single one where they follow from those read.
        times: shape (inputs, outputs).
    """

    step: int
    inputs: Widths
    outputs: Widths
    times: Times

    def at(self, read: Widths, made: Widths) -> Times:
        """Milliseconds at widths, two arrays of one shape; linear from stair to stair, and flat below the
        ladder.
        """
        low, share = self._between(self.inputs, read)
        if len(self.outputs) == 1:
            column = self.times[:, 0]
            return column[low] * (1 - share) + column[np.minimum(low + 1, len(column) - 1)] * share
        left, part = self._between(self.outputs, made)
        down, right = np.minimum(low + 1, len(self.inputs) - 1), np.minimum(left + 1, len(self.outputs) - 1)
        above = self.times[low, left] * (1 - part) + self.times[low, right] * part
        below = self.times[down, left] * (1 - part) + self.times[down, right] * part
        found: Times = above * (1 - share) + below * share
        return found

    def _between(self, ladder: Widths, widths: Widths) -> tuple[Widths, Times]:
        """The rung at or below every width, once it is rounded up to its stair, and how far it is to the next
        one.
        """
        stairs = np.clip(
            np.where(widths <= self.step // 2, self.step // 2, -(-widths // self.step) * self.step),
            ladder[0],
            ladder[-1],
        )
        low = np.clip(np.searchsorted(ladder, stairs, side="right") - 1, 0, max(0, len(ladder) - 2))
        high = np.minimum(low + 1, len(ladder) - 1)
        gap = np.maximum(ladder[high] - ladder[low], 1)
        return low, (stairs - ladder[low]) / gap


def ladder(width: int, step: int, shares: Sequence[float] = SHARES) -> tuple[int, ...]:
    """The widths that are probed: half a step, multiples of the step near these shares of the full width, and
    the full width itself.
    """
    rungs = {max(step, round(share * width / step) * step) for share in shares} | (
        {step // 2} if step > 1 else set()
    )
    return tuple(sorted({rung for rung in rungs if rung < width} | {width}))


def rungs(shape: Shape, step: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths read and made that a table of this shape holds."""
    if shape.kind == "linear":
        return ladder(shape.inputs, 1, COARSE), ladder(shape.outputs, 1, COARSE)
    if shape.groups == 0:
        return ladder(shape.inputs, step), (shape.outputs,)
    if shape.groups > 1:  # widths are those of every group, all alike
        return tuple(
            tuple(shape.groups * each for each in ladder(width // shape.groups, 1))
            for width in (shape.inputs, shape.outputs)
        )  # type: ignore[return-value]
    return ladder(shape.inputs, step), ladder(shape.outputs, step)


def pairs_of(shape: Shape, step: int) -> list[Pair]:
    """What is timed for a table, row by row."""
    inputs, outputs = rungs(shape, step)
    if shape.groups == 0:
        return [(width, shape.outputs // shape.inputs * width) for width in inputs]
    return [(read, made) for read in inputs for made in outputs]


def block_width(probe: Probe, threads: int) -> int:
    """The width of this machine's stairs: the widest one of which treads are flat.

    A 3 × 3 convolution of 28 pixels is timed at widths from 64 to 128.
    """
    shape = Shape("convolution", 1, (28, 28), (3, 3), (1, 1), (1, 1), (1, 1), (0, 0), 1, 64, 128)
    widths = list(range(64, 129, 2))
    times = dict(zip(widths, probe(shape, [(64, width) for width in widths], threads)))

    def slope(block: int) -> float:
        """How far below the edge ahead the times on the treads are, as a part of what the stairs rise."""
        treads = [
            (times[width], times[width // block * block], times[-(-width // block) * block])
            for width in widths
            if width % block
        ]
        return sum(edge - time for time, _, edge in treads) / max(
            sum(edge - last for _, last, edge in treads), 1e-9
        )

    return next((block for block in BLOCKS if slope(block) <= FLAT), 1)


class Probed:
    """The tables of this machine for one runtime, in a file that is added to; a file of another machine or
    version is left alone.

    The file has a checksum: a damaged or changed one counts as none, and what is asked for is measured anew.

    Args:
        runtime: what they are measured in.
        probe: times a shape.
        threads: of the runtime.
        folder: of the files; None = `cache_folder()`.
    """

    def __init__(
        self, runtime: str, probe: Probe, threads: int = 1, folder: str | os.PathLike[str] | None = None
    ) -> None:
        self._probe, self._threads = probe, threads
        self._environment = {"runtime": runtime, "runtime_threads": threads} | {
            name: value for name, value in environment().items() if name not in ("python", "threads")
        }
        name = hashlib.sha256(json.dumps(self._environment, sort_keys=True).encode()).hexdigest()[:16]
        self.file = (Path(folder) if folder else cache_folder()) / f"latency-{runtime}-{name}.json"
        self._kept = _read(self.file, self._environment)

    @property
    def step(self) -> int:
        """The width of this machine's stairs."""
        if "step" not in self._kept:
            self._kept["step"] = block_width(self._probe, self._threads)
            self._write()
        return int(self._kept["step"])

    def tables(
        self, shapes: Iterable[Shape], watch: Callable[[str, int, int], None] = lambda step, done, total: None
    ) -> dict[Shape, Table]:
        """A table per distinct shape; those that are not in the file are measured."""
        step, found = self.step, {}
        distinct = list(dict.fromkeys(shapes))
        for done, shape in enumerate(distinct):
            watch("timing layers", done, len(distinct))
            inputs, outputs = rungs(shape, step)
            key = json.dumps([asdict(shape), inputs, outputs])
            if not _is_table(self._kept["tables"].get(key), len(inputs) * len(outputs)):
                self._kept["tables"][key] = self._probe(shape, pairs_of(shape, step), self._threads)
                self._write()
            times = np.array(self._kept["tables"][key], dtype=np.float64).reshape(len(inputs), len(outputs))
            found[shape] = Table(
                1 if shape.groups > 1 or shape.kind == "linear" else step,
                np.array(inputs),
                np.array(outputs),
                times,
            )
        return found

    def _write(self) -> None:
        content = {name: self._kept[name] for name in ("step", "tables")} | {
            "schema": _SCHEMA,
            "environment": self._environment,
        }
        with suppress(FileFormatError):  # where nothing can be kept, tables are measured anew next time
            write_atomically(self.file, json.dumps(content | {"sha256": _digest(content)}).encode())


def cache_folder() -> Path:
    """$PRUNUS_CACHE, or the user's folder for caches."""
    if given := os.environ.get("PRUNUS_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prunus"


def _read(file: Path, environment: dict[str, Any]) -> dict[str, Any]:
    """What the file holds; a missing, unreadable, damaged or changed one, or one of another machine, holds
    nothing.
    """
    try:
        if file.is_file() and file.stat().st_size <= _LARGEST:
            kept = json.loads(file.read_text(encoding="utf-8"))
            if _is_whole(kept) and kept["environment"] == json.loads(json.dumps(environment)):
                return {"step": kept["step"], "tables": kept["tables"]}
    except (OSError, ValueError, RecursionError, MemoryError):
        pass
    return {"tables": {}}


def _is_whole(kept: Any) -> bool:
    """Whether these are the entries that are written, with their checksum, and numbers that can be."""
    if (
        not isinstance(kept, dict)
        or kept.keys() != {"schema", "environment", "step", "tables", "sha256"}
        or kept["schema"] != _SCHEMA
    ):
        return False
    if kept["sha256"] != _digest({name: value for name, value in kept.items() if name != "sha256"}):
        return False
    return type(kept["step"]) is int and kept["step"] in (1, *BLOCKS) and isinstance(kept["tables"], dict)


def _is_table(times: Any, count: int) -> bool:
    """Whether these are so many times, each a positive number."""
    return (
        isinstance(times, list)
        and len(times) == count
        and all(isinstance(t, (int, float)) and not isinstance(t, bool) and 0 < t < _LONGEST for t in times)
    )


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 over the entries as JSON, in the order of their names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def probe_of(runtime: str, device: str = "cpu") -> Probe:
    """The probe of a runtime by name.

    Raises:
        ConfigError: there is none of that name.
        MissingExtraError: its packages are not installed.
    """
    if runtime == "onnxruntime":
        from prunus.measure.probe_onnx import probe_onnx

        return probe_onnx
    if runtime == "torch":
        from prunus.measure.probe_torch import probe_torch

        return partial(probe_torch, device=device)
    raise ConfigError(f"Latency can be planned for the runtimes onnxruntime and torch, not {runtime!r}.")
