"""The clock that a latency target is met by: what layers take at which widths, and what whole networks take,
on a named runtime.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol, cast

from torch import nn

from prunus._foundation.progress import Watch, unwatched
from prunus.deploy import onnx_file
from prunus.deploy.inputs import Inputs
from prunus.measure.probe import Probed, Table, probe_of
from prunus.measure.runtimes import Network, Runtime, onnx_files, time_models
from prunus.measure.shapes import Shape
from prunus.measure.timing import Latency

TIMED_S = 3.0  # of every comparison, within these numbers of rounds:
FEWEST_ROUNDS, MOST_ROUNDS = 8, 100
Stopwatch = Callable[
    ..., list[float]
]  # networks -> milliseconds of the dense one, and of these, timed in turns


class Machine(Protocol):
    """What plans are timed on."""

    name: str
    threads: int

    @property
    def step(self) -> int:
        """Widths between two multiples of this take as long as the larger one."""

    def tables(self, shapes: Iterable[Shape], watch: Watch = unwatched) -> dict[Shape, Table]:
        """Milliseconds of layers over their widths."""

    def stopwatch(self, dense: nn.Module, inputs: Inputs) -> AbstractContextManager[Stopwatch]:
        """To compare networks with a dense one, inside a block."""


class Here:
    """This machine.

    Args:
        runtime: "onnxruntime" or "torch".
        threads: of the runtime.
        folder: where tables are kept; None = `prunus.measure.probe.cache_folder()`.
        device: that PyTorch computes on.

    Raises:
        ConfigError: there is no runtime of that name.
        MissingExtraError: its packages are not installed.
    """

    def __init__(
        self,
        runtime: str,
        threads: int = 1,
        folder: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> None:
        if runtime == "onnxruntime":
            onnx_file.require()
        self.name, self.threads = runtime, threads
        self._probed = Probed(
            runtime if device == "cpu" else f"{runtime}-{device}", probe_of(runtime, device), threads, folder
        )

    @property
    def step(self) -> int:
        """Widths between two multiples of this take as long as the larger one."""
        return self._probed.step

    def tables(self, shapes: Iterable[Shape], watch: Watch = unwatched) -> dict[Shape, Table]:
        """Milliseconds of layers over their widths; what is not on disk is measured."""
        return self._probed.tables(shapes, watch)

    @contextmanager
    def stopwatch(self, dense: nn.Module, inputs: Inputs) -> Iterator[Stopwatch]:
        """To compare networks with a dense one, inside a block; for ONNX Runtime it is exported once."""
        with ExitStack() as stack:
            first: Network = (
                stack.enter_context(onnx_files({"dense": dense}, inputs))["dense"]
                if self.name == "onnxruntime"
                else dense
            )
            rounds = MOST_ROUNDS

            def timed(*networks: nn.Module) -> list[float]:
                nonlocal rounds
                entrants = {"dense": first} | {
                    str(number): network for number, network in enumerate(networks)
                }
                found = time_models(
                    entrants,
                    inputs,
                    runtime=cast(Runtime, self.name),
                    threads=self.threads,
                    repeats=rounds,
                    limit_s=TIMED_S,
                )
                rounds = _rounds(found["dense"])
                return [one.median_ms for one in found.values()]

            yield timed


def _rounds(dense: Latency) -> int:
    """So many that a network takes about as long as one that is timed for `TIMED_S`; of slow ones few are
    enough.
    """
    return min(MOST_ROUNDS, max(FEWEST_ROUNDS, round(1e3 * TIMED_S / dense.median_ms)))
