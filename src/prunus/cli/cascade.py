"""`prunus cascade`: a small network answers what it is sure of, and larger ones the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json, show_table
from prunus.errors import ConfigError, TargetError
from prunus.runs.data import Source, Wanted, read_data
from prunus.runs.kinds import check_target
from prunus.runs.loading import parse_shape

if TYPE_CHECKING:
    from torch import Tensor

    from prunus.dynamic import Answers, Cascade
    from prunus.tasks import Task

TIMED = 200  # test samples that latency is measured on, at most


def cascade(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="SMALL… LARGE", help="Models from the cheapest to the dearest, as for compare."
        ),
    ],
    data: given.DataName = "",
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", help="MACs relative to the last model's, on average.", rich_help_panel=given.TARGET
        ),
    ] = None,
    tolerance: given.Tolerance = None,
    confidence: given.Confidence = 0.95,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out",
            help="Share of the training samples that thresholds are found on.",
            rich_help_panel=given.DATA,
        ),
    ] = 0.1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="An ONNX file that decides inside, one input at a time."),
    ] = None,
    dynamic_batch: given.DynamicBatch = False,
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    workers: given.Workers = 0,
    mean: given.Mean = "",
    std: given.Std = "",
    seed: Annotated[
        int, typer.Option("--seed", help="Which samples are held out.", rich_help_panel=given.DATA)
    ] = 0,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    as_json: given.AsJson = False,
) -> None:
    """Let a small network answer what it is sure of, and larger ones the rest; measure accuracy, MACs and
    latency.

    For example: prunus cascade out/ resnet56@resnet56.th --data cifar10 --budget 0.5 -o cascade.onnx
    """
    from prunus.dynamic import Cascade, export_cascade

    check_target(output, "the ONNX file")
    if (budget is None) == (tolerance is None):
        raise TargetError("Exactly one of --budget and --tolerance must be given.")
    if not data:
        raise ConfigError("How sure is sure enough is found from samples: give --data.")
    if not 0 < held_out < 1:
        raise ConfigError(f"--held-out is a share of the training samples between 0 and 1, not {held_out:g}.")
    with bars() as watch:
        shape = parse_shape(input_shape)
        wanted = Wanted(
            data, data_dir, mean, std, held_out, seed, limit=limit, batch_size=batch_size, workers=workers
        )
        source = read_data(wanted, shape[-1] if shape else None, watch)
        task = _of_classes(source)
        watch("building the models", 0, 0)
        opened = [source.open(text, shape=shape, build_name=build) for text in models]
        made = Cascade([one.model for one in opened], opened[-1].inputs()[:1])
        watch("asking about held-out samples", 0, 0)
        held = made.ask(task.batches("validation"))
        made.threshold = held.at(budget) if budget is not None else held.within(tolerance or 0.0, confidence)
        watch("asking about test samples", 0, 0)
        found = made.ask(task.batches("test"))
        some = next(iter(task.batches("test", TIMED)))[0][:TIMED]
        check = None
        if output is not None:
            watch("exporting to ONNX", 0, 0)
            check = export_cascade(made, some[:32], output, dynamic_batch=dynamic_batch)
        watch("measuring latency", 0, 0)
        times = _times(made, some, output)
    notes = [*dict.fromkeys(note for one in opened for note in one.notes())]
    notes.append(
        "Thresholds are from held-out training samples; stages that were trained on them are surer of them"
        " than of others."
    )
    result = {
        "models": [one.record() for one in opened],
        "threshold": made.threshold,
        "held_out": {"samples": len(held.sure)} | _summary(held, made.threshold),
        "test": {"samples": len(found.sure)} | _summary(found, made.threshold),
        "latency": times,
        "onnx": None if check is None else {"path": str(check.path), "max_abs": check.max_abs},
        "notes": notes,
    }
    show_json(result) if as_json else _show(models, made, result)


def _of_classes(source: Source) -> Task:
    """The task, if it is one of classes and has held-out and test samples. Raises ConfigError."""
    name = source.wanted.name
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
    import tempfile

    import torch

    from prunus.deploy import onnx
    from prunus.measure.per_input import over_inputs
    from prunus.measure.timing import pinned_threads

    inputs = [image[None] for image in images]
    rows = []
    with torch.inference_mode(), pinned_threads(1):
        measured = {"PyTorch": over_inputs({"last stage": made.stages[-1].eval(), "cascade": made}, inputs)}
    if file is not None:
        with tempfile.TemporaryDirectory() as folder:
            alone = onnx.export(made.stages[-1], inputs[0], Path(folder) / "last.onnx").path
            measured["ONNX Runtime"] = over_inputs(
                {"last stage": onnx.runner(alone), "cascade": onnx.runner(file)}, inputs
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


def _show(names: list[str], made: Cascade, result: dict[str, Any]) -> None:
    from prunus.report import words

    test = result["test"]
    rows = [
        (name, words.percent(macs / made.macs[-1]), f"{alone:.2f} %", words.percent(answered))
        for name, macs, alone, answered in zip(names, made.macs, test["alone"], test["answered"])
    ]
    rows.append(("cascade", words.percent(test["macs"]), f"{test['accuracy']:.2f} %", ""))
    show_table("", ("", "MACs", "test accuracy", "answers"), rows)
    show("")
    table = [
        (row["runtime"], row["network"], words.milliseconds(row["p50"]), words.milliseconds(row["p95"]))
        for row in result["latency"]
    ]
    show_table("", ("one thread, one input at a time", "", "median", "95 %"), table, left=2)
    show(
        f"\nSure is a margin of {made.threshold:.3f} between the two highest probabilities, found on"
        f" {result['held_out']['samples']:,} samples."
    )
    if result["onnx"]:
        show(
            f"{result['onnx']['path']}: decides inside, and agrees with PyTorch to"
            f" {words.error(result['onnx']['max_abs'])}."
        )
    for note in result["notes"]:
        show(f"Note: {note}")
