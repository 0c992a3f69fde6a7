"""Post-training quantisation of an ONNX file to 8 bits, and the layers that had better stay in float.

Ranges of activations are seen on calibration inputs, weights get one scale per output channel, and no
training is needed (Jacob et al. 2018, arXiv 1712.05877, section 3; Krishnamoorthi 2018, arXiv 1806.08342).
Where that costs more than a tolerance, the layers that add most noise stay in float.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from prunus._foundation import confidence as bounds
from prunus._foundation.atomic import draft_folder, put
from prunus._foundation.progress import Watch, unwatched
from prunus._foundation.scratch import scratch_folder
from prunus.deploy import onnx_file, qdq
from prunus.errors import ConfigError, TargetError


@dataclass(frozen=True)
class Int8Check:
    """A quantised file, and how far its outputs are from the float file's.

    Attributes:
        path: the file.
        opset: ONNX operator-set version of the file.
        bytes: of the file.
        weight_bytes: of the numbers stored in it, scales and zero points among them.
        weight_bits: 8; 7 where the processor that it was made on saturates with 8.
        quantised: layers (convolutions and matrix products) with 8-bit weights, in the order of the graph;
            none if all were to stay in float.
        kept_float: the other layers.
        noise: root mean square of the difference of the outputs, relative to that of the float file's
            outputs, on calibration inputs.
    """

    path: Path
    opset: int
    bytes: int
    weight_bytes: int
    weight_bits: int
    quantised: tuple[str, ...]
    kept_float: tuple[str, ...]
    noise: float


@dataclass(frozen=True)
class Sensitivity:
    """The `noise` (see `Int8Check`) that quantising one layer alone brings."""

    layer: str
    noise: float


@dataclass(frozen=True)
class Int8Trial:
    """A quantised file that was judged on held-out samples.

    Attributes:
        kept_float: the layers that were left in float.
        metric: points.
        lowest: what the points are at least, with the confidence that was asked for.
        accepted: the loss is within the tolerance.
    """

    kept_float: tuple[str, ...]
    metric: float
    lowest: float
    accepted: bool


@dataclass(frozen=True)
class Int8Search:
    """What `quantise_within` found.

    Attributes:
        check: the file.
        baseline: points of the float file.
        tolerance: points that might be lost.
        confidence: with which they are not exceeded.
        trials: all that were judged, in order; the first with every layer in 8 bits.
        sensitivities: of all layers, most sensitive first; empty if the first trial was accepted.
    """

    check: Int8Check
    baseline: float
    tolerance: float
    confidence: float
    trials: tuple[Int8Trial, ...]
    sensitivities: tuple[Sensitivity, ...]


def layers(source: Path | str) -> tuple[str, ...]:
    """The layers of a float file that can be quantised, in the order of the graph; arguments and errors as
    for `quantise`.
    """
    _require()
    with scratch_folder() as folder:
        return tuple(qdq.layers_of(Path(source), Path(folder)))


def quantise(
    source: Path | str,
    target: Path | str,
    calibration: Iterable[Tensor],
    keep_float: Sequence[str] = (),
    *,
    weight_bits: int | None = None,
) -> Int8Check:
    """Write a file that computes in 8 bits; it appears under its name whole or not at all.

    Args:
        source: a float file with one input, as `prunus.deploy.onnx.export` writes it.
        target: where to write; an existing file is replaced.
        calibration: batches of real, normalised inputs, a few hundred in all; such as
            `prunus.training.Calibration`.
        keep_float: names or glob patterns of layers (see `layers`) that stay in float.
        weight_bits: 8 or 7 for weights that no processor saturates with; None takes 7 only if this processor
            needs it.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        FileFormatError: the source cannot be read.
        DataError: there are no calibration inputs.
        ConfigError: a pattern matches no layer, the file is quantised already, has several inputs, or other
            bits are asked for.
        PrunusError: ONNX Runtime cannot quantise the file; what it says.
    """
    with _opened(source, target, calibration, weight_bits) as made:
        return made.deliver(made.write(made.matching(keep_float)))


def quantise_within(
    source: Path | str,
    target: Path | str,
    calibration: Iterable[Tensor],
    evaluate: Callable[[Path], Tensor | bounds.Rows],
    tolerance: float,
    confidence: float = bounds.CONFIDENCE,
    *,
    weight_bits: int | None = None,
    watch: Watch = unwatched,
) -> Int8Search:
    """Quantise as many layers as held-out samples allow.

    If the file with all layers in 8 bits loses too much, every layer is quantised alone, and the noise that
    this brings to the outputs gives their order. The fewest of the most sensitive that must stay in float are
    found by bisection, more in float being taken to lose less. All layers in float lose nothing and need no
    trial.

    Args:
        source, target, calibration, weight_bits: as for `quantise`.
        evaluate: file -> the points of every held-out sample, shape (samples,), higher is better: 100 for
            every sample told right, say; or `prunus.planning.tolerance.Rows`, where the metric is no mean.
        tolerance: points that may be lost.
        confidence: that the loss on samples like the held-out ones is within the tolerance, in [0.5, 1); see
            `prunus.planning.tolerance.judged`.
        watch: told about progress.

    Raises:
        TargetError: numbers out of range, points that are not numbers or of different shapes, too few samples
            for the tolerance, or no layer can be quantised within it; then there is no file.
        PrunusError: and what `quantise` raises.
    """
    bounds.check(tolerance, confidence)
    with _opened(source, target, calibration, weight_bits) as made:
        points = evaluate(Path(source))
        baseline, trials = bounds.value_of(points), list[Int8Trial]()
        bounds.check_provable(points, tolerance, confidence)

        def accepted(kept: tuple[str, ...]) -> bool:
            watch("quantising", len(trials) + 1, 0)
            metric, lowest = bounds.judged(points, evaluate(made.write(kept)), confidence)
            trials.append(Int8Trial(kept, metric, lowest, baseline - lowest <= tolerance))
            return trials[-1].accepted

        order, kept = tuple[Sensitivity, ...](), tuple[str, ...]()
        if not accepted(()):
            order = made.sensitivities(watch)
            names = tuple(one.layer for one in order)
            kept = names[: _fewest(len(names), lambda count: accepted(names[:count]))]
            if len(kept) == len(names):
                raise TargetError(
                    f"No layer can compute in 8 bits and lose at most {tolerance:g} points on"
                    f" {_count(points):,} held-out samples with {100 * confidence:g} % confidence: allow more"
                    " points, or hold out more samples."
                )
        return Int8Search(
            made.deliver(made.write(kept)), baseline, tolerance, confidence, tuple(trials), order
        )


def _count(points: Tensor | bounds.Rows) -> int:
    return len(points.each) if isinstance(points, bounds.Rows) else len(points)


def _fewest(most: int, accepted: Callable[[int], bool]) -> int:
    """The smallest count above 0 that is accepted, by bisection; `most` is accepted unasked."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if accepted(middle) else (middle, high)
    return high


class _Maker:
    """Quantised drafts of one calibrated file, one of which is delivered."""

    def __init__(self, ready: qdq.Calibrated, source: Path, target: Path, folder: Path, bits: int) -> None:
        self.ready, self.source, self.target, self.draft, self.bits = (
            ready,
            source,
            target,
            folder / "draft.onnx",
            bits,
        )

    def matching(self, patterns: Sequence[str]) -> tuple[str, ...]:
        """Layers by name or glob pattern."""
        for pattern in patterns:
            if not any(fnmatchcase(layer, pattern) for layer in self.ready.layers):
                raise ConfigError(
                    f"{pattern!r} matches no layer of {self.source.name}; its layers are"
                    f" {', '.join(self.ready.layers)}."
                )
        return tuple(
            layer for layer in self.ready.layers if any(fnmatchcase(layer, pattern) for pattern in patterns)
        )

    def write(self, kept: Sequence[str], only: bool = False) -> Path:
        """A draft, in place of the last one; see `qdq.quantised`."""
        with qdq.told(self.source):
            saved: Any = importlib.import_module("onnx")
            saved.save(qdq.quantised(self.ready, kept, self.bits, only), str(self.draft))
        return self.draft

    def sensitivities(self, watch: Watch) -> tuple[Sensitivity, ...]:
        """The noise of every layer alone, most sensitive first."""
        found, every = [], list(self.ready.layers)
        for number, layer in enumerate(every):
            watch("finding sensitive layers", number, len(every))
            draft = self.write([other for other in every if other != layer], only=True)
            found.append(Sensitivity(layer, qdq.noise(draft, self.ready)))
        return tuple(sorted(found, key=lambda one: -one.noise))

    def deliver(self, draft: Path) -> Int8Check:
        """Give a draft its name, and say what it is."""
        with qdq.told(self.source):
            loader: Any = importlib.import_module("onnx")
            model = loader.load(str(draft))
            quantised = qdq.layers_in_int8(model, self.ready)
            noise, size = qdq.noise(draft, self.ready), draft.stat().st_size
            weights = sum(loader.numpy_helper.to_array(entry).nbytes for entry in model.graph.initializer)
        (opset,) = (entry.version for entry in model.opset_import if entry.domain == "")
        put(draft, self.target)
        rest = tuple(layer for layer in self.ready.layers if layer not in quantised)
        return Int8Check(self.target, opset, size, weights, self.bits, quantised, rest, noise)


@contextmanager
def _opened(
    source: Path | str, target: Path | str, calibration: Iterable[Tensor], weight_bits: int | None
) -> Iterator[_Maker]:
    """A calibrated file, and a folder beside the target in which drafts are made."""
    _require()
    if weight_bits not in (None, 7, 8):
        raise ConfigError(f"Weights have 8 bits, or 7 where 8 saturate, not {weight_bits}.")
    source, target = Path(source), Path(target)
    with draft_folder(target) as folder:
        ready = qdq.calibrated(source, calibration, folder)
        yield _Maker(ready, source, target, folder, weight_bits or qdq.weight_bits())


def _require() -> None:
    onnx_file.require("Quantisation", ("onnx", "onnxruntime"))
