"""`pack`: a network in as few bytes as a tolerance allows, or as well as a budget of bytes allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.atomic import write_atomically
from prunus._foundation.confidence import CONFIDENCE, check, check_provable, judged, value_of
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus._foundation.wording import dtype_name
from prunus.coding.costs import LayerCode, costs_of
from prunus.errors import ConfigError, TargetError
from prunus.paint.model_copy import named_tensors, unwrap
from prunus.paint.trace import trace
from prunus.quantisation.folding import fold_norms
from prunus.quantisation.grid import quantise
from prunus.quantisation.quantised import Quantised, own_copy
from prunus.quantisation.sharing import error_shares
from prunus.quantisation.trained import train_on_grids
from prunus.storage.coded_file import coded_bytes
from prunus.tasks import Task
from prunus.tasks.placed import Placed, example_of
from prunus.training import TrainConfig

Kind = Literal["tolerance", "bytes", "bits", "error", "rate"]
SAMPLES = 1024  # calibration inputs
STEPS = 6  # of a search; the error of the outputs is then known to a factor of 1.1
LOW, HIGH = 1e-3, 0.3  # errors of layers between which it is searched
NEAR = 0.01  # of a budget of bytes that may be left unused


@dataclass(frozen=True)
class PackTrial:
    """One step of a search.

    Attributes:
        error: of every layer's outputs, or the rate of a training.
        bytes: of the file.
        value: the metric on held-out samples [points]; NaN where only bytes count.
        lowest: what the metric does not undercut with the confidence that was asked for.
        accepted: whether the target is kept.
    """

    error: float
    bytes: int
    value: float
    lowest: float
    accepted: bool


@dataclass(frozen=True, eq=False)
class Packed:
    """What came of packing.

    Attributes:
        model: with exactly the values of the file, in evaluation mode.
        tensors: what is coded, by name.
        data: the bytes of the file.
        target: what was asked for: its kind and its value.
        before: the metric of the original on the test samples [points]; None without any.
        after: the same of what is in the file.
        original_bytes: of the original's parameters and buffers, as they lie in memory.
        layers: bytes by tensor, the largest first.
        stages: bytes after each stage, by what it is called.
        limit: the lowest metric on held-out samples that a tolerance accepts; None without one.
        trials: of the search.
        seconds: wall time by step.
        path: the file, if one was written.
        notes: what there is to know besides.
    """

    model: nn.Module
    tensors: Mapping[str, Any]
    data: bytes
    target: tuple[Kind, float]
    before: float | None
    after: float | None
    original_bytes: int
    layers: tuple[LayerCode, ...]
    stages: Mapping[str, int]
    limit: float | None = None
    trials: tuple[PackTrial, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Of the file."""
        return len(self.data)


@door(ConfigError)
def pack(
    model: nn.Module,
    task: Task,
    path: str | Path | None = None,
    *,
    tolerance: float | None = None,
    bytes: float | None = None,
    bits: int | None = None,
    error: float | None = None,
    rate: float | None = None,
    confidence: float = CONFIDENCE,
    config: TrainConfig | None = None,
    teach: bool = False,
    samples: int = SAMPLES,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    plan: bool = False,
    skeleton: Callable[[nn.Module, Any], bytes] | None = None,
    watch: Watch = unwatched,
) -> Packed:
    """Put a trained network into a coded file; the model itself is not changed. Give one of the targets.

    Args:
        model: trained, and pruned if it is to be; whatever the task is of. A file holds single precision, so
            of a network in another one a copy is packed.
        task: calibration inputs come from its training samples; a tolerance is kept on held-out ones.
        path: where the file goes; None writes none.
        tolerance: points of the metric that may be lost, with `confidence`.
        bytes: of the file, at most; a share of the original's if it is below 1.
        bits: of every weight.
        error: of the outputs of every layer, as a share of their variance.
        rate: with `config`: what a thousand bytes add to the loss while the grids are trained.
        confidence: with which a tolerance is kept, one-sided.
        config: train the grids so; None quantises after the training, which takes minutes.
        teach: the original teaches while grids are trained.
        samples: calibration inputs.
        seed: of their draw.
        about: JSON data that the file tells people.
        plan: keep what was removed from a pruned network, so that `prunus.save` can write what is loaded.
        skeleton: (model, example inputs) -> the ONNX graph without weights that goes into the file.
        watch: told about progress.

    Raises:
        ConfigError: no target, several, or one that does not go with `config`.
        TargetError: the tolerance or the bytes cannot be kept.
        FileFormatError: the network has no form in such a file.
    """
    target = _target(
        {"tolerance": tolerance, "bytes": bytes, "bits": bits, "error": error, "rate": rate}, config
    )
    job = _Job(unwrap(model), task, target, confidence, samples, seed, about, plan, skeleton, watch)
    packed = job.trained(config, teach) if config is not None else job.after_training()
    if path is not None:
        write_atomically(Path(path), packed.data)
    return replace(packed, path=None if path is None else Path(path))


def _target(given: Mapping[str, float | None], config: TrainConfig | None) -> tuple[Kind, float]:
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if len(named) != 1:
        raise ConfigError(
            f"Give one of {', '.join(given)}, not {' and '.join(kind for kind, _ in named) or 'none'}."
        )
    kind, value = named[0]
    if (kind == "rate") != (config is not None):
        raise ConfigError("rate says how grids are trained, so give it together with config, and only then.")
    if kind == "bytes" and not value > 0:
        raise ConfigError(f"bytes is a number of them, or a share of the original's, not {value}.")
    return kind, float(value)  # type: ignore[return-value]  # the kinds are the names of the arguments


class _Job:
    """One packing: what its steps share."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        target: tuple[Kind, float],
        confidence: float,
        samples: int,
        seed: int,
        about: Mapping[str, Any] | None,
        plan: bool,
        skeleton: Callable[[nn.Module, Any], bytes] | None,
        watch: Watch,
    ) -> None:
        self.task, self.target, self.confidence = task, target, confidence
        self.model, self.notes = _in_single_precision(model)
        self.calibration = Placed(task.calibration(samples, seed), self.model)
        self.about, self.plan, self.skeleton, self.clock = about, plan, skeleton, Clock(watch)
        self.original_bytes = sum(
            tensor.numel() * tensor.element_size() for tensor in named_tensors(model).values()
        )
        self.baseline = math.nan
        self.trials: list[PackTrial] = []

    def after_training(self) -> Packed:
        """Grids by error feedback, coarser or finer until the target is just kept."""
        kind, value = self.target
        if kind in ("bits", "error"):
            found = self.clock.time(
                "quantising",
                lambda: self._quantised(**{kind: int(value) if kind == "bits" else value}),
            )
            return self._packed(found, self._bytes(found))
        shares = self.clock.time("measuring sensitivity", self._shares)
        judge = self._judge_of_tolerance() if kind == "tolerance" else self._judge_of_bytes()
        best, data = self.clock.time("searching", lambda: self._search(shares, judge))
        return self._packed(best, data)

    def trained(self, config: TrainConfig, teach: bool) -> Packed:
        """Grids that are trained with the bytes in the loss."""
        found = self.clock.time(
            "training grids",
            lambda: train_on_grids(
                self.model,
                self.task,
                rate=self.target[1],
                config=config,
                teacher=self.model if teach else None,
                on_step=lambda done, total: self.clock.watch("training grids", done, total),
            ),
        )
        return self._packed(found, self._bytes(found))

    def _search(
        self, shares: Mapping[str, float], judge: Callable[[Quantised, bytes], PackTrial]
    ) -> tuple[Quantised, bytes]:
        """Halve the interval of errors, a larger one being taken to lose more and to cost less."""
        low, high, best = math.log(LOW), math.log(HIGH), None
        fewest = self.target[0] == "tolerance"
        for _ in range(STEPS):
            error = math.exp((low + high) / 2)
            found = self._quantised(error=error, shares=shares)
            data = self._bytes(found)
            trial = replace(judge(found, data), error=error)
            self.trials.append(trial)
            if trial.accepted:
                best = (found, data)
            if trial.accepted == fewest:
                low = math.log(error)
            else:
                high = math.log(error)
            if not fewest and trial.accepted and trial.bytes >= (1 - NEAR) * self._budget():
                break
        if best is None:
            raise TargetError(self._missed())
        return best

    def _missed(self) -> str:
        kind, value = self.target
        if kind == "bytes":
            least = min(trial.bytes for trial in self.trials)
            return (
                f"{self._budget():,.0f} bytes are too few: with an error of {HIGH:g} in every layer the file"
                f" has {least:,}; prune the network before it is packed, or train its grids."
            )
        most = max(trial.lowest for trial in self.trials)
        return (
            f"A tolerance of {value:g} points cannot be kept: the finest grids that were tried lose at most"
            f" {self.baseline - most:.2f} points with {100 * self.confidence:g} % confidence; more held-out"
            " samples narrow that down."
        )

    def _judge_of_tolerance(self) -> Callable[[Quantised, bytes], PackTrial]:
        tolerance = self.target[1]
        check(tolerance, self.confidence)
        if self.task.validation is None:
            raise TargetError(
                "A tolerance is kept on held-out samples, so the task needs validation samples."
            )
        original = self.task.points(self.model)
        self.baseline = value_of(original)
        check_provable(original, tolerance, self.confidence)

        def judge(found: Quantised, data: bytes) -> PackTrial:
            value, lowest = judged(original, self.task.points(found.model), self.confidence)
            return PackTrial(0.0, len(data), value, lowest, self.baseline - lowest <= tolerance)

        return judge

    def _judge_of_bytes(self) -> Callable[[Quantised, bytes], PackTrial]:
        most = self._budget()
        return lambda found, data: PackTrial(0.0, len(data), math.nan, math.nan, len(data) <= most)

    def _budget(self) -> float:
        value = self.target[1]
        return value * self.original_bytes if value < 1 else value

    def _shares(self) -> dict[str, float]:
        first = next(iter(self.calibration))
        graph = trace(self.model, first)
        return error_shares(fold_norms(self.model, graph), graph, self.calibration)

    def _quantised(self, **wanted: Any) -> Quantised:
        trial = f", trial {len(self.trials) + 1}" if self.target[0] in ("tolerance", "bytes") else ""
        return quantise(
            self.model,
            self.calibration,
            on_step=lambda done, total: self.clock.watch(f"quantising{trial}", done, total),
            **wanted,
        )

    def _bytes(self, found: Quantised) -> bytes:
        skeleton = (
            b"" if self.skeleton is None else self.skeleton(found.model, example_of(self.task, found.model))
        )
        return coded_bytes(found.model, found.tensors, skeleton=skeleton, about=self.about, plan=self.plan)

    def _packed(self, found: Quantised, data: bytes) -> Packed:
        has_test = self.task.test is not None
        layers, stages = costs_of(found.tensors)
        return Packed(
            found.model,
            found.tensors,
            data,
            self.target,
            self.task.value(self.model) if has_test else None,
            self.task.value(found.model) if has_test else None,
            self.original_bytes,
            layers,
            {"as it was": self.original_bytes, **stages, "the file": len(data)},
            self.baseline - self.target[1] if self.target[0] == "tolerance" else None,
            tuple(self.trials),
            self.clock.seconds,
            notes=self.notes,
        )


def _in_single_precision(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The model, or a copy whose numbers are those that coded files hold; and a word on that."""
    others = {
        dtype_name(weight.dtype)
        for weight in model.parameters()
        if weight.is_floating_point() and weight.dtype != torch.float32
    }
    if not others:
        return model, ()
    note = (
        f"A coded file holds single precision: numbers in {' and '.join(sorted(others))} were turned to it."
    )
    return own_copy(model).float(), (note,)


__all__ = ["PackTrial", "Packed", "pack"]
