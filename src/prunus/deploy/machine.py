"""The clock that a latency target is met by: what layers take at which widths, and what whole networks take, on a named runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torch import nn

from prunus.deploy import onnx
from prunus.deploy.inputs import Inputs
from prunus.deploy.latency import measure, measure_onnx
from prunus.deploy.probe import Probed, Table, probe_of
from prunus.deploy.shapes import Shape

TIMED_S = 3.0  # of every comparison
Watch = Callable[[str, int, int], None]


def unwatched(step: str, done: int, total: int) -> None:
    """Nobody watches."""


class Machine(Protocol):
    """What plans are timed on."""

    name: str
    threads: int

    @property
    def step(self) -> int:
        """Widths between two multiples of this take as long as the larger one."""

    def tables(self, shapes: Iterable[Shape], watch: Watch = unwatched) -> dict[Shape, Table]:
        """Milliseconds of layers over their widths."""

    def stopwatch(self, dense: nn.Module, inputs: Inputs) -> Stopwatch:
        """To compare networks with a dense one."""


class Stopwatch(Protocol):
    """Times networks beside the dense one."""

    def __call__(self, small: nn.Module) -> tuple[float, float]:
        """Milliseconds of the dense network and of this one, in turns."""

    def close(self) -> None:
        """Remove what was written for it."""


class Here:
    """This machine.

    Args:
        runtime: "onnxruntime" or "torch".
        threads: of the runtime.
        folder: where tables are kept; None = `prunus.deploy.probe.cache_folder()`.
        device: that PyTorch computes on.

    Raises:
        ConfigError: there is no runtime of that name.
        MissingExtraError: its packages are not installed.
    """

    def __init__(self, runtime: str, threads: int = 1, folder: Path | None = None, device: str = "cpu") -> None:
        if runtime == "onnxruntime":
            onnx.require()
        self.name, self.threads = runtime, threads
        self._probed = Probed(runtime if device == "cpu" else f"{runtime}-{device}", probe_of(runtime, device), threads, folder)

    @property
    def step(self) -> int:
        """Widths between two multiples of this take as long as the larger one."""
        return self._probed.step

    def tables(self, shapes: Iterable[Shape], watch: Watch = unwatched) -> dict[Shape, Table]:
        """Milliseconds of layers over their widths; what is not on disk is measured."""
        return self._probed.tables(shapes, watch)

    def stopwatch(self, dense: nn.Module, inputs: Inputs) -> Stopwatch:
        """To compare networks with a dense one."""
        return _InOnnx(dense, inputs, self.threads) if self.name == "onnxruntime" else _InTorch(dense, inputs, self.threads)


class _InTorch:
    """Eager PyTorch."""

    def __init__(self, dense: nn.Module, inputs: Inputs, threads: int) -> None:
        self._dense, self._inputs, self._threads = dense, inputs, threads

    def __call__(self, small: nn.Module) -> tuple[float, float]:
        """Milliseconds of the dense network and of this one."""
        found = measure({"dense": self._dense, "small": small}, self._inputs, limit_s=TIMED_S, threads=self._threads)
        return found["dense"].median_ms, found["small"].median_ms

    def close(self) -> None:
        """Nothing was written."""


class _InOnnx:
    """ONNX Runtime; the dense network is exported once."""

    def __init__(self, dense: nn.Module, inputs: Inputs, threads: int) -> None:
        self._inputs, self._threads = inputs, threads
        self._folder = tempfile.TemporaryDirectory()
        self._dense = onnx.export(dense, inputs, Path(self._folder.name) / "dense.onnx").path

    def __call__(self, small: nn.Module) -> tuple[float, float]:
        """Milliseconds of the dense network and of this one."""
        path = onnx.export(small, self._inputs, Path(self._folder.name) / "small.onnx").path
        found = measure_onnx({"dense": self._dense, "small": path}, self._inputs, limit_s=TIMED_S, threads=self._threads)
        return found["dense"].median_ms, found["small"].median_ms

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


@contextmanager
def stopwatch(machine: Machine, dense: nn.Module, inputs: Inputs) -> Iterator[Stopwatch]:
    """A stopwatch that is closed behind the block."""
    found = machine.stopwatch(dense, inputs)
    try:
        yield found
    finally:
        found.close()
