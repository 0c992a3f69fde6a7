"""`prunus profile` and `prunus compare`: look at models without changing them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json, show_table
from prunus.cli.verbs import typed_command
from prunus.errors import ConfigError
from prunus.runs.kinds import check_target
from prunus.runs.texts import parse_shape


def profile(
    model: given.ModelName,
    weights: given.Weights = None,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    as_json: given.AsJson = False,
) -> None:
    """Show every layer: shape, MACs, parameters, share of the whole."""
    from prunus.report import words
    from prunus.runs.profiling import profile as look
    from prunus.runs.settings import Network

    found = look(Network(model, weights, input_shape=parse_shape(input_shape), build=build))
    if as_json:
        show_json(found)
        return
    cost, record = found["cost"], found["model"]
    table = [
        (
            layer["name"],
            layer["op"],
            "×".join(map(str, layer["weight_shape"])),
            "×".join(map(str, layer["output_shape"])),
            words.count(layer["macs_before"]),
            words.percent(layer["macs_before"] / cost["macs"]) if cost["macs"] else "–",
            words.count(layer["params_before"]),
        )
        for layer in found["layers"]
    ]
    show_table("", ("layer", "operator", "weight", "output", "MACs", "share", "parameters"), table, left=4)
    name = model if "gates" in found else record["name"]
    show(
        f"\n{name}, input {'×'.join(map(str, record['input_shape']))}: {words.count(cost['macs'])} MACs,"
        f" {words.count(cost['params'])} parameters, {words.size(cost['bytes'])},"
        f" {words.size(cost['peak_activation_bytes'])} peak activations; {found['channels']:,} channels can"
        " be removed."
    )
    if "gates" in found:
        _show_gates(found["gates"])


def _show_gates(found: dict[str, Any]) -> None:
    from prunus.report import words

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
    check_target(output, "the page", *models, endings=(".html",))
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
    from prunus.runs.data import Data
    from prunus.runs.profiling import compare as side_by_side
    from prunus.runs.settings import Network

    shape = parse_shape(input_shape)
    source = Data(
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
    first, second = (Network(text, input_shape=shape, build=build) for text in models)
    with bars() as watch:
        result = side_by_side(first, second, source if data else None, with_onnx=onnx, watch=watch)
    show_json(result) if as_json else _show_comparison(result)


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
    files = result["file_bytes"]
    if files["a"] or files["b"]:
        first, second = (words.size(files[side]) if files[side] else "–" for side in ("a", "b"))
        rows.append(("File", first, second, words.times(files["a"] or 0, files["b"] or 0)))
    show_table("", ("", a, b, "change"), rows)
    difference = result["difference"]
    show(
        f"\nOutputs differ by at most {difference['max_abs']:.3g}, {words.percent(difference['relative'])} of"
        f" the largest output of {a}."
    )
    for note in result["notes"]:
        show(f"Note: {note}")
