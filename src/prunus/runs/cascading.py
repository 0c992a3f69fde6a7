"""A whole cascade: a small network answers what it is sure of, and larger ones the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields, door
from prunus._foundation.progress import Watch, unwatched
from prunus._foundation.scratch import scratch_folder
from prunus.deploy import onnx, onnx_file
from prunus.dynamic import Cascade, export_cascade
from prunus.errors import ConfigError, TargetError
from prunus.measure.per_input import over_inputs
from prunus.measure.timing import pinned_threads
from prunus.runs.data import Data, Source, data_of, open_network, read_data
from prunus.runs.fitting import chosen_among_seen, fitted
from prunus.runs.kinds import check_target
from prunus.runs.limits import check_settings
from prunus.runs.settings import Network, files_of, network_of

if TYPE_CHECKING:
    from prunus.dynamic import Answers
    from prunus.tasks import Task

TIMED = 200  # test samples that latency is measured on, at most


@dataclass(frozen=True)
class CascadeSettings:
    """How sure is sure enough: exactly one of budget and tolerance is given.

    Attributes:
        budget: MACs relative to the last network's, on average.
        tolerance: points of accuracy that may be lost against the last network.
        confidence: with which a tolerance is kept.

    Raises:
        TargetError: both are given, or none.
        ConfigError: a setting is of another kind, or out of range.
    """

    budget: float | None = None
    tolerance: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        check_settings({field.name: getattr(self, field.name) for field in fields(self)}, {})
        if (self.budget is None) == (self.tolerance is None):
            raise TargetError("Exactly one of --budget and --tolerance must be given.")


@door(ConfigError)
def cascade(
    models: Sequence[Network | str],
    data: Data | str,
    settings: CascadeSettings,
    *,
    output: Path | None = None,
    dynamic_batch: bool = False,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Find the threshold of a cascade on held-out samples, and measure accuracy, MACs and latency on test
    samples.

    Args:
        models: from the cheapest to the dearest.
        data: with classes.
        settings: how sure is sure enough.
        output: an ONNX file that decides inside, one input at a time; None = none.
        dynamic_batch: let it take batches of any size.
        watch: told about progress.

    Raises:
        ConfigError, TargetError, DataError, PrunusError: what is named is not there, or makes no cascade.
    """
    named = data_of(data, 0)
    if named is None or not named.name:
        raise ConfigError("How sure is sure enough is found from samples: give --data.")
    if not 0 < named.share < 1:
        raise ConfigError(
            f"--held-out is a share of the training samples between 0 and 1, not {named.share:g}."
        )
    networks = [network_of(model) for model in models]
    check_target(output, "the ONNX file", named.name, *files_of(*networks), endings=(".onnx",))
    shape = networks[0].input_shape if networks else None
    source = read_data(named, shape[-1] if shape else None, watch)
    _of_classes(source)
    watch("building the models", 0, 0)
    found = [open_network(network, source) for network in networks]
    seen = chosen_among_seen(source, *found)
    source, said = fitted(source, *found)
    task = _of_classes(source)
    made = Cascade([one.model for one in found], found[-1].inputs()[:1])
    watch("asking about held-out samples", 0, 0)
    held = made.ask(task.batches("validation"))
    made.threshold = (
        held.at(settings.budget)
        if settings.budget is not None
        else held.within(settings.tolerance or 0.0, settings.confidence)
    )
    watch("asking about test samples", 0, 0)
    asked = made.ask(task.batches("test"))
    some = next(iter(task.batches("test", TIMED)))[0][:TIMED]
    check = None
    if output is not None:
        watch("exporting to ONNX", 0, 0)
        check = export_cascade(made, some[:32], output, dynamic_batch=dynamic_batch)
    watch("measuring latency", 0, 0)
    notes = [*dict.fromkeys(note for one in found for note in one.notes()), *said, *seen]
    notes.append(
        "Thresholds are from held-out training samples; stages that were trained on them are surer of them"
        " than of others."
    )
    return {
        "models": [one.record() for one in found],
        "stage_macs": list(made.macs),
        "threshold": made.threshold,
        "held_out": {"samples": len(held.sure)} | _summary(held, made.threshold),
        "test": {"samples": len(asked.sure)} | _summary(asked, made.threshold),
        "latency": _times(made, some, output),
        "onnx": None if check is None else {"path": str(check.path), "max_abs": check.max_abs},
        "notes": notes,
    }


def _of_classes(source: Source) -> Task:
    """The task, if it is one of classes and has held-out and test samples. Raises ConfigError."""
    name = source.data.name
    if source.pictures is not None or not source.task().tells_classes:
        metric = source.task().metric_name
        raise ConfigError(
            f"A cascade goes by how sure a network is of a class, and {name} is measured by {metric}: give"
            " data with classes."
        )
    task = source.task()
    if task.validation is None or task.test is None:
        raise ConfigError(
            f"A cascade needs held-out samples, to find thresholds on, and test samples: the task of {name}"
            " lacks one of them."
        )
    return task


def _summary(found: Answers, threshold: float) -> dict[str, Any]:
    """Of the cascade and its stages."""
    return {
        "accuracy": float(found.points(threshold).mean()),
        "macs": float(found.cost(threshold).mean()),
        "answered": found.answered(threshold),
        "alone": found.alone(),
    }


def _times(made: Cascade, images: Tensor, file: Path | None) -> list[dict[str, Any]]:
    """Percentiles over inputs [ms], of the last stage and of the cascade, on one thread."""
    inputs = [image[None] for image in images]
    rows = []
    with torch.inference_mode(), pinned_threads(1):
        measured = {"PyTorch": over_inputs({"last stage": made.stages[-1].eval(), "cascade": made}, inputs)}
    if file is not None:
        with scratch_folder() as folder:
            alone = onnx.export(made.stages[-1], inputs[0], Path(folder) / "last.onnx").path
            measured["ONNX Runtime"] = over_inputs(
                {"last stage": onnx_file.runner(alone), "cascade": onnx_file.runner(file)}, inputs
            )
    for runtime, times in measured.items():
        for name, each in times.items():
            rows.append(
                {
                    "runtime": runtime,
                    "network": name,
                    "p50": float(each.quantile(0.5)),
                    "p95": float(each.quantile(0.95)),
                }
            )
    return rows
