"""The folder that a training with gates leaves behind, and what its report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prunus import storage
from prunus._foundation.arguments import door
from prunus._foundation.environment import environment
from prunus._foundation.progress import Watch, unwatched
from prunus.deploy import onnx, onnx_file
from prunus.dynamic import DynamicNetwork, export_gated, save_gates, skipping
from prunus.errors import ConfigError, PrunusError
from prunus.measure.per_input import over_inputs
from prunus.measure.timing import pinned_threads
from prunus.report.result import SCHEMA, Result
from prunus.runs import by_class
from prunus.runs.delivery import ONNX, check, finish, run_files, without_onnx
from prunus.runs.describe import Provenance
from prunus.runs.settings import USUAL, Delivery
from prunus.tasks.words import metric_text
from prunus.training import evaluate
from prunus.training.feeding import batches

if TYPE_CHECKING:
    from prunus.data import Split
    from prunus.paint.cost import Cost
    from prunus.tasks import Task
    from prunus.training import History, Normalise

MODEL, GATES = "model.safetensors", "gates.safetensors"
TIMED = 200  # test samples that latency is measured on, one by one
CURVE = 2000  # test samples that accuracy is measured on at other budgets
POINTS = 6  # of that curve
BINS = 24


@dataclass(frozen=True, eq=False)
class Gated:
    """What a training with gates came to.

    Attributes:
        network: calibrated, with a budget.
        classes: their names.
        first: the network before something of it was settled, if it was; everything is compared with what it
            was without gates.
        before: accuracy of the network that was gated [percent], if it had been trained.
        gallery: test samples and their MACs -> pictures to show.
    """

    network: DynamicNetwork
    classes: Sequence[str]
    first: DynamicNetwork | None = None
    before: float | None = None
    gallery: Callable[[Split, Tensor], list[dict[str, Any]]] = lambda samples, macs: []


@door(ConfigError)
def deliver_gated(
    folder: Path | str,
    gated: Gated,
    task: Task,
    about: Provenance,
    delivery: Delivery = USUAL,
    watch: Watch = unwatched,
) -> Result:
    """Measure what a gated network saves on the test samples, and write everything: all files of this run, or
    none.

    Args:
        folder: where to; made if it is not there, and files of an earlier run are replaced.
        gated: what came of the training.
        task: samples.
        about: where the result comes from, with the training.
        delivery: what is written besides; the ONNX file takes one input at a time.
        watch: told about progress.

    Returns:
        The result, as written to `result.json`.

    Raises:
        MissingExtraError, ConfigError, FileFormatError: as for `prunus.runs.delivery.check` and `run_files`.
        PrunusError: the network cannot skip its closed channels; or it cannot be exported, and everything
            else is there then.
    """
    folder, network, failure = Path(folder), gated.network, None
    check(folder, with_onnx=delivery.onnx, with_report=delivery.report)
    with run_files(folder) as staged:
        paths = {"model": staged / MODEL, "gates": staged / GATES}
        timed = task.samples("test").subset(torch.arange(min(TIMED, task.count("test"))))
        inputs = [images for images, _ in batches(timed, task.normalisation, 1)]
        first = gated.first or network
        fast, dense, exported = skipping(network, inputs[0]), first.plain().eval(), None
        if delivery.onnx:
            watch("exporting to ONNX", 0, 0)
            try:
                exported = export_gated(network, torch.cat(inputs[:16]), staged / ONNX)
            except PrunusError as error:
                failure = without_onnx(error, staged)
        watch("asking the gates about test samples", 0, 0)
        shares, panel = activity_panel(network, task.samples("test"), task.normalisation, gated.classes)
        panel |= {"curve": curve(network, task), "gallery": gated.gallery(task.samples("test"), shares)}
        accuracy = _accuracy(gated, task)
        watch("measuring latency", 0, 0)
        panel["latency"] = latency(dense, fast, inputs, exported.path if exported else None, staged)
        watch("writing", 0, 0)
        storage.save(network.plain().eval(), paths["model"])
        save_gates(network, paths["gates"])
        result = _described(network, fast, inputs[0], panel, first.graph.cost(), about.notes)
        result |= {
            "command": about.command,
            "seed": about.seed,
            "model": dict(about.model),
            "accuracy": accuracy,
            "training": [] if about.training is None else [_trained(about.training)],
        }
        result["by_class"] = by_class.panel(task, None, gated.network)
        result = finish(result | dict(about.panels), staged, paths, exported, delivery.report)
    if failure is not None:
        raise failure
    return Result(result, folder)


def _accuracy(gated: Gated, task: Task) -> dict[str, Any]:
    """On the test samples, before and with gates."""
    found = evaluate(gated.network, task.samples("test"), task.normalisation).accuracy
    before = [] if gated.before is None else [{"step": "before", "value": gated.before}]
    return {
        "metric": metric_text(task),
        "count": task.count("test"),
        "note": f"{task.count('test'):,} test samples, by which nothing was chosen.",
        "steps": [*before, {"step": "with gates", "value": found}],
    }


def _trained(history: History) -> dict[str, Any]:
    return {
        "name": "training",
        "config": asdict(history.config),
        "epochs": [asdict(epoch) for epoch in history.epochs],
    }


@torch.no_grad()
def _described(
    network: DynamicNetwork,
    fast: DynamicNetwork,
    inputs: Tensor,
    panel: Mapping[str, Any],
    whole: Cost,
    notes: Sequence[str],
) -> dict[str, Any]:
    """What a result says of the network itself, its cost, and whether the form that skips
    computes the same.
    """
    wanted, cost = network(inputs), asdict(network.graph.cost())
    difference = float((fast(inputs) - wanted).abs().max())
    own = [parameter for gate in network.gates.values() for parameter in gate.parameters()]
    after = cost | {
        "macs": panel["expected"] * whole.macs,
        "params": cost["params"] + sum(parameter.numel() for parameter in own),
        "bytes": cost["bytes"] + sum(parameter.numel() * parameter.element_size() for parameter in own),
    }
    layers = [
        asdict(layer) | {"weight_shape": list(layer.weight_shape), "output_shape": list(layer.output_shape)}
        for layer in network.graph.layers()
    ]
    target = {
        "text": f"{100 * network.budget:.0f} % of its MACs on average",
        "score": f"gates ({network.form.kind})",
        "scope": "input by input",
    }
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": dict(environment()),
        "target": target,
        "cost": {"before": asdict(whole), "after": after},
        "layers": layers,
        "pinned": [],
        "notes": list(notes),
        "verification": {
            "exact": True,
            "mode": "skipping",
            "max_abs": difference,
            "relative": difference / max(float(wanted.abs().max()), 1e-30),
        },
        "search": None,
        "latency": [],
        "dynamic": panel,
    }


@torch.no_grad()
def activity_panel(
    network: DynamicNetwork, samples: Split, normalise: Normalise, classes: Sequence[str]
) -> tuple[Tensor, dict[str, Any]]:
    """MACs of every sample relative to those without gates, (samples,), and what the report shows of the
    gates.
    """
    shares, opened = (
        [],
        {
            name: torch.zeros(len(classes), gate.channels, dtype=torch.float64)
            for name, gate in network.gates.items()
        },
    )
    counts = torch.zeros(len(classes), dtype=torch.float64)
    for images, labels in batches(samples, normalise, 250):
        openings = network.openings(images)
        shares.append(network.macs(openings) / network.dense_macs)
        counts.index_add_(0, labels, torch.ones(len(labels), dtype=torch.float64))
        for name, opening in openings.items():
            opened[name].index_add_(0, labels, (opening.open > 0).double())
    every = torch.cat(shares)
    edges = torch.linspace(0, max(1.0, float(every.max())), BINS + 1, dtype=torch.float64)
    groups = []
    for name, each in opened.items():
        mean = each.sum(0) / counts.sum()
        by_class = (each.mean(1) / counts.clamp(min=1)).tolist()
        groups.append(
            {
                "name": name,
                "size": len(mean),
                "open": float(mean.mean()),
                "always": int((mean == 1).sum()),
                "never": int((mean == 0).sum()),
            }
            | {"by_class": by_class}
        )
    return every, {
        "form": asdict(network.form),
        "budget": network.budget,
        "strictness": network.strictness,
        "knob": [list(point) for point in network.knob],
        "gate_macs": network.gate_macs,
        "samples": len(every),
        "classes": list(classes),
        "groups": groups,
        "expected": float(every.mean()),
        "percentiles": {str(p): float(every.quantile(p / 100)) for p in (5, 50, 95)},
        "histogram": {
            "edges": edges.tolist(),
            "counts": torch.histc(every, BINS, 0, float(edges[-1])).tolist(),
        },
    }


def curve(network: DynamicNetwork, task: Task) -> list[dict[str, float]]:
    """Accuracy and MACs at several budgets, on the first test samples; the gates are left as they were."""
    some, before = (
        task.samples("test").subset(torch.arange(min(CURVE, task.count("test")))),
        network.strictness,
    )
    low, high = network.knob[-1][1], network.knob[0][1]
    budgets = sorted({*torch.linspace(max(low, 0.5 * network.budget), high, POINTS).tolist(), network.budget})
    found = []
    try:
        for budget in budgets:
            network.budget = min(max(budget, low), high)
            macs = [
                network.macs(network.openings(images)) for images, _ in batches(some, task.normalisation, 250)
            ]
            accuracy = evaluate(network, some, task.normalisation).accuracy
            found.append(
                {
                    "budget": budget,
                    "macs": float(torch.cat(macs).mean()) / network.dense_macs,
                    "accuracy": accuracy,
                }
            )
    finally:
        network.tighten(before)
    return found


def latency(
    dense: torch.nn.Module, fast: torch.nn.Module, inputs: Sequence[Tensor], file: Path | None, folder: Path
) -> list[dict[str, Any]]:
    """Percentiles over inputs [ms] on one thread, with all channels and with gates."""
    with torch.inference_mode(), pinned_threads(1):
        measured = {"PyTorch": over_inputs({"all channels": dense, "with gates": fast}, inputs)}
    if file is not None:
        alone = folder / ".all-channels.onnx"
        try:
            onnx.export(dense, inputs[0], alone)
            measured["ONNX Runtime"] = over_inputs(
                {"all channels": onnx_file.runner(alone), "with gates": onnx_file.runner(file)}, inputs
            )
        finally:
            alone.unlink(missing_ok=True)
    return [
        {
            "runtime": runtime,
            "network": name,
            "p50": float(each.quantile(0.5)),
            "p95": float(each.quantile(0.95)),
            "mean": float(each.mean()),
        }
        for runtime, times in measured.items()
        for name, each in times.items()
    ]
