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
from prunus.deploy.latency import Latency, measure, measure_onnx
from prunus.deploy.probe import Probed, Table, probe_of
from prunus.deploy.shapes import Shape

TIMED_S = 3.0  # of every comparison, within these numbers of rounds:
FEWEST_ROUNDS, MOST_ROUNDS = 8, 100
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

    def __call__(self, *networks: nn.Module) -> list[float]:
        """Milliseconds of the dense network, and of these, in turns."""

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
        self._rounds = MOST_ROUNDS

    def __call__(self, *networks: nn.Module) -> list[float]:
        """Milliseconds of the dense network, and of these."""
        models = {str(number): network for number, network in enumerate((self._dense, *networks))}
        found = measure(models, self._inputs, repeats=self._rounds, limit_s=TIMED_S, threads=self._threads)
        self._rounds = _rounds(found["0"])
        return [one.median_ms for one in found.values()]

    def close(self) -> None:
        """Nothing was written."""


class _InOnnx:
    """ONNX Runtime; the dense network is exported once."""

    def __init__(self, dense: nn.Module, inputs: Inputs, threads: int) -> None:
        self._inputs, self._threads = inputs, threads
        self._folder = tempfile.TemporaryDirectory()
        self._dense = onnx.export(dense, inputs, Path(self._folder.name) / "dense.onnx").path
        self._rounds = MOST_ROUNDS

    def __call__(self, *networks: nn.Module) -> list[float]:
        """Milliseconds of the dense network, and of these."""
        paths = [Path(self._folder.name) / f"{number}.onnx" for number in range(len(networks))]
        files = {"dense": self._dense} | {path.name: onnx.export(network, self._inputs, path).path for path, network in zip(paths, networks)}
        found = measure_onnx(files, self._inputs, repeats=self._rounds, limit_s=TIMED_S, threads=self._threads)
        self._rounds = _rounds(found["dense"])
        return [one.median_ms for one in found.values()]

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


def _rounds(dense: Latency) -> int:
    """So many that a network takes about as long as one that is timed for `TIMED_S`; of slow ones few are enough."""
    return min(MOST_ROUNDS, max(FEWEST_ROUNDS, round(1e3 * TIMED_S / dense.median_ms)))


@contextmanager
def stopwatch(machine: Machine, dense: nn.Module, inputs: Inputs) -> Iterator[Stopwatch]:
    """A stopwatch that is closed behind the block."""
    found = machine.stopwatch(dense, inputs)
    try:
        yield found
    finally:
        found.close()
