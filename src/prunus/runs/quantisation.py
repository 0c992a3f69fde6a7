"""The step of a run that quantises its ONNX file, and the part of `result.json` that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prunus._foundation.scratch import scratch_folder
from prunus._foundation.wording import dtype_name
from prunus.deploy import int8, onnx
from prunus.deploy.file_network import FileNetwork
from prunus.deploy.inputs import split
from prunus.errors import ConfigError, TargetError, clause
from prunus.measure.timing import measure_onnx, speedup
from prunus.plans.verify import evaluating
from prunus.runs.settings import Quantisation
from prunus.surgery.parts import is_core
from prunus.tasks.words import metric_text
from prunus.training.evaluation import placement

if TYPE_CHECKING:
    from prunus.tasks import Task

FILE = "model.int8.onnx"
CALIBRATION = 256  # training samples by which the ranges of activations are found


def check(task: Task, model: nn.Module) -> None:
    """Raises ConfigError, before any work, for a task by which a file in 8 bits cannot be judged, and for a
    network of which there is none.
    """
    kind = placement(model)[1]
    if kind != torch.float32:
        raise ConfigError(
            "A file in 8 bits is made from a network in single precision, and this one has"
            f" {dtype_name(kind)} weights: give it as float32, or leave --int8 out."
        )
    if is_core(task.core(model)):
        raise ConfigError(
            "A file in 8 bits is judged by its own outputs, and that of a detector ends at its heads, before"
            f" there are boxes to be judged by {task.metric_name}: leave --int8 out."
        )
    for part, what in (
        ("validation", "held-out samples, by which layers are kept in float"),
        ("test", "test samples to report on"),
    ):
        if getattr(task, part) is None:
            raise ConfigError(f"A file in 8 bits needs {what}, and {task.name} has none.")
    inputs = next(iter(task.calibration(1)))
    if not isinstance(inputs, Tensor):
        raise ConfigError(
            f"A network in 8 bits takes one tensor, and the inputs of {task.name} are several: leave --int8"
            " out."
        )


def quantised(
    wanted: Quantisation,
    original: nn.Module,
    exported: Path | str,
    example_inputs: Any,
    task: Task,
    *,
    seed: int = 0,
    watch: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> dict[str, Any]:
    """Quantise an exported model beside its file, and measure both, and the original, in ONNX Runtime.

    Args:
        wanted: tolerance and confidence.
        original: the model before anything was removed.
        exported: the ONNX file of the compact model.
        example_inputs: what latency is measured on.
        task: with held-out samples, by which layers are kept in float; the test samples are only reported on.
        seed: of the calibration inputs.
        watch: told about progress.

    Raises:
        PrunusError: what `prunus.deploy.int8.quantise_within` raises; TargetError where nothing can be
            quantised within the tolerance.
    """
    check(task, original)
    exported = Path(exported)
    watch("calibrating", 0, 0)
    with evaluating(original):
        args, kwargs = split(example_inputs)
        like = original(*args, **kwargs)
    try:
        search = int8.quantise_within(
            exported,
            exported.with_name(FILE),
            task.calibration(CALIBRATION, seed),
            lambda file: task.points(FileNetwork(file, like=like), "validation"),
            wanted.tolerance,
            wanted.confidence,
            watch=watch,
        )
    except TargetError as error:
        raise TargetError(f"There is no {FILE}: {clause(error)} (--int8-tolerance).") from error
    networks = _measured(
        original, {"compact": exported, "int8": search.check.path}, example_inputs, like, task, watch
    )
    return _panel(search, task) | {"networks": networks}


def _measured(
    original: nn.Module,
    files: Mapping[str, Path],
    example_inputs: Any,
    like: Any,
    task: Task,
    watch: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    """Size, metric on the test samples, and latency of the original and of files, in ONNX Runtime."""
    with scratch_folder() as folder:
        dense = onnx.export(original, example_inputs, Path(folder) / "dense.onnx").path
        files = {"before": dense, **files}
        watch("evaluating in ONNX Runtime", 0, 0)
        accuracy = {name: task.value(FileNetwork(file, like=like)) for name, file in files.items()}
        watch("measuring INT8", 0, 0)
        times = measure_onnx(files, example_inputs)
        sizes = {name: file.stat().st_size for name, file in files.items()}
    return [
        {
            "network": name,
            "bytes": sizes[name],
            "accuracy": accuracy[name],
            "median_ms": times[name].median_ms,
            "q25_ms": times[name].q25_ms,
            "q75_ms": times[name].q75_ms,
            "speedup": asdict(speedup(times["before"], times[name])),
        }
        for name in files
    ]


def _panel(search: int8.Int8Search, task: Task) -> dict[str, Any]:
    """The file, and how it was found."""
    check = search.check
    return {
        "file": check.path.name,
        "opset": check.opset,
        "weight_bits": check.weight_bits,
        "weight_bytes": check.weight_bytes,
        "noise": check.noise,
        "quantised": len(check.quantised),
        "kept_float": list(check.kept_float),
        "tolerance": search.tolerance,
        "confidence": search.confidence,
        "held_out": task.count("validation"),
        "metric": metric_text(task),
        "baseline": search.baseline,
        "trials": [asdict(trial) | {"kept_float": list(trial.kept_float)} for trial in search.trials],
        "sensitivities": [asdict(one) for one in search.sensitivities],
    }
