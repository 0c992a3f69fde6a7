"""`prunus profile` and `prunus compare`: look at models without changing them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json, show_table
from prunus.cli.verbs import typed_command
from prunus.errors import ConfigError
from prunus.runs.data import Wanted, inputs_of, read_data, traced
from prunus.runs.kinds import check_target
from prunus.runs.loading import open_model, parse_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from prunus.dynamic import DynamicNetwork
    from prunus.runs.loading import Opened
    from prunus.tasks import Task

VERIFIED_ON = 64  # samples on which outputs are compared


def profile(
    model: given.ModelName,
    weights: given.Weights = None,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    as_json: given.AsJson = False,
) -> None:
    """Show every layer: shape, MACs, parameters, share of the whole."""
    from prunus.dynamic import DynamicNetwork
    from prunus.paint import trace
    from prunus.report import words

    opened = open_model(model, weights=weights, shape=parse_shape(input_shape), build_name=build, gated=True)
    network = opened.model if isinstance(opened.model, DynamicNetwork) else None
    graph = network.graph if network is not None else trace(opened.model, opened.inputs())
    cost, layers = graph.cost(), graph.layers()
    if as_json:
        rows = [asdict(layer) for layer in layers]
        gates = {} if network is None else {"gates": _gates(network)}
        show_json(
            {"model": opened.record(), "cost": asdict(cost), "channels": graph.num_channels, "layers": rows}
            | gates
        )
        return
    table = [
        (
            layer.name,
            layer.op,
            "×".join(map(str, layer.weight_shape)),
            "×".join(map(str, layer.output_shape)),
            words.count(layer.macs_before),
            words.percent(layer.macs_before / cost.macs) if cost.macs else "–",
            words.count(layer.params_before),
        )
        for layer in layers
    ]
    show_table("", ("layer", "operator", "weight", "output", "MACs", "share", "parameters"), table, left=4)
    show(
        f"\n{opened.name}, input {'×'.join(map(str, opened.input_shape))}: {words.count(cost.macs)} MACs,"
        f" {words.count(cost.params)} parameters, {words.size(cost.bytes)},"
        f" {words.size(cost.peak_activation_bytes)} peak activations; {graph.num_channels:,} channels can be"
        " removed."
    )
    if network is not None:
        _show_gates(network)


def _gates(network: DynamicNetwork) -> dict[str, Any]:
    """What a gated network is, and how far its budget reaches."""
    groups = {group.name: group.size for group in network.graph.groups}
    reach = (
        {"budget": network.budget, "least": network.knob[-1][1], "most": network.knob[0][1]}
        if network.knob
        else {}
    )
    return (
        asdict(network.form)
        | reach
        | {
            "macs": network.gate_macs,
            "groups": {name: groups[name] for name in network.gates},
        }
    )


def _show_gates(network: DynamicNetwork) -> None:
    from prunus.report import words

    found = _gates(network)
    show(
        f"Gates ({found['kind']}) on {len(found['groups'])} groups of channels,"
        f" {sum(found['groups'].values()):,} in all: {words.count(found['macs'])} MACs of their own."
    )
    if "budget" in found:
        show(
            f"Budget: {words.percent(found['budget'])} of the MACs on average; at run time it can be set from"
            f" {words.percent(found['least'])} to {words.percent(found['most'])}."
        )


def compare(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C…]",
            help="Two models: names, NAME@WEIGHTS or folders; or folders of runs, for a chart.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Draw what runs recorded, in one page (.html).")
    ] = None,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    data: given.DataName = "",
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    workers: given.Workers = 0,
    ignore: given.Ignore = 255,
    window: given.Window = None,
    mean: given.Mean = "",
    std: given.Std = "",
    onnx: given.WithOnnx = True,
    as_json: given.AsJson = False,
) -> None:
    """Put two models side by side: cost, measured latency, output difference, accuracy. Or draw several runs
    in one chart: accuracy against MACs, latency and bytes, from what they recorded.

    For example: prunus compare resnet56@resnet56.th out/ --data cifar10;
    prunus compare runs/a runs/b runs/c -o compare.html
    """
    check_target(output, "the page")
    if data and (output is not None or len(models) > 2):
        raise ConfigError(
            "A chart of runs is drawn from what they recorded: leave --data out, or compare two models,"
            " without -o."
        )
    if output is not None or len(models) > 2:
        from prunus.cli.compare_runs import compare_runs

        compare_runs(models, output, typed_command(context), build, as_json)
        return
    if len(models) != 2:
        raise typer.BadParameter("Give two models, or folders of several runs.")
    wanted = Wanted(
        data,
        data_dir,
        mean,
        std,
        0.0,
        ignore=ignore,
        limit=limit,
        batch_size=batch_size,
        workers=workers,
        window=window,
    )
    _compare_two(models[0], models[1], input_shape, build, wanted, onnx, as_json)


def _compare_two(
    a: str, b: str, input_shape: str, build: str, wanted: Wanted, onnx: bool, as_json: bool
) -> None:
    """Measure both, on the same samples."""
    from prunus.measure.comparison import compare_latency, output_difference
    from prunus.paint import trace

    with bars() as watch:
        shape = parse_shape(input_shape)
        source = read_data(wanted, shape[-1] if shape else None, watch) if wanted.name else None
        watch("building the models", 0, 0)
        build_model: Callable[..., Opened] = source.open if source else open_model
        first, second = (build_model(text, shape=shape, build_name=build) for text in (a, b))
        if first.input_shape != second.input_shape:
            raise ConfigError(
                f"{a} takes {first.input_shape} and {b} takes {second.input_shape}: give --input-shape for"
                " both."
            )
        task = source.task(first.input_shape[-1]) if source else None
        accuracy: dict[str, Any] | None = None
        if task is not None:
            watch("evaluating", 0, 0)
            accuracy = _figures(first, second, task)
        one, inputs = inputs_of(task, first.inputs(), VERIFIED_ON)
        one_network, other = traced(task, first.model), traced(task, second.model)
        watch("tracing", 0, 0)
        costs = [asdict(trace(network, one).cost()) for network in (one_network, other)]
        difference = output_difference(one_network, other, one if inputs is None else inputs)
        measured, _ = compare_latency(
            one_network, other, one, with_onnx=onnx, watch=lambda step: watch(step, 0, 0)
        )
    result: dict[str, Any] = {
        "a": first.record(),
        "b": second.record(),
        "cost": {"a": costs[0], "b": costs[1]},
        "latency": [asdict(row) for row in measured],
        "difference": {"max_abs": difference.max_abs, "relative": difference.relative},
        "accuracy": accuracy,
        "notes": [*dict.fromkeys((*first.notes(), *second.notes()))],
    }
    show_json(result) if as_json else _show_comparison(result)


def _figures(first: Opened, second: Opened, task: Task) -> dict[str, Any]:
    """The metric of both on the test samples. Raises ConfigError where there are none."""
    if task.test is None:
        raise ConfigError(f"{task.name} has no test samples to compare networks on.")
    values = {side: task.value(opened.model) for side, opened in (("a", first), ("b", second))}
    return values | {
        "count": task.count("test"),
        "of": task.kind("test"),
        "metric": f"{task.metric_name}, percent",
    }


def _show_comparison(result: dict[str, Any]) -> None:
    a, b = result["a"]["name"], result["b"]["name"]
    from prunus.report import words
    from prunus.report.html import comparison
    from prunus.report.words import DENSE

    view = {
        "cost": {"before": result["cost"]["a"], "after": result["cost"]["b"]},
        "latency": result["latency"],
        "accuracy": None,
    }
    if result["accuracy"]:
        view["accuracy"] = {
            "metric": result["accuracy"]["metric"],
            "steps": [{"step": DENSE, "value": result["accuracy"][side]} for side in ("a", "b")],
        }
    rows = [(row["name"], row["before"], row["after"], row["change"]) for row in comparison(view)]
    show_table("", ("", a, b, "change"), rows)
    difference = result["difference"]
    show(
        f"\nOutputs differ by at most {difference['max_abs']:.3g}, {words.percent(difference['relative'])} of"
        f" the largest output of {a}."
    )
    for note in result["notes"]:
        show(f"Note: {note}")
