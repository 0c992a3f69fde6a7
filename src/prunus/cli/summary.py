"""What a run says at its end: one table, and where to look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunus.cli.console import bold, show, show_table


def show_result(result: Mapping[str, Any], folder: Path) -> None:
    """The verdict, figures before and after, accuracy at every step, and the files."""
    from prunus.report import int8_panel
    from prunus.report.html import comparison
    from prunus.report.metric import metric_of
    from prunus.report.verdict import verdict
    from prunus.report.words import network_name

    show("\n", bold(f"{network_name(result['model']['name'])}: {verdict(result)}"), "\n")
    rows = [(row["name"], row["before"], row["after"], row["change"]) for row in comparison(result)]
    show_table("", ("", "before", "after", "change"), rows)
    steps = (result["accuracy"] or {}).get("steps", [])
    if len(steps) > 2:
        metric = metric_of(result)
        path = "  →  ".join(f"{metric.figure(step['value'])} {step['step']}" for step in steps)
        show(f"\n{metric.title}: {path}")
    verification = result["verification"]
    kind = "exact" if verification["exact"] else "inexact"
    show(f"Verified: {verification['mode']} module, {kind}, relative error {verification['relative']:.1e}")
    if result.get("int8"):
        show(int8_panel.text(result["int8"]))
    for note in result["notes"]:
        show(f"Note: {note}")
    report = folder / "report.html"
    show("\nLook at ", bold(report if report.exists() else folder / "result.json"))


def show_trained(result: Mapping[str, Any], folder: Path, model: str) -> None:
    """What a training of a model came to, whatever it was of."""
    if "verification" in result:
        show_result(result, folder)
    elif "test" in result:
        show_pixels(result, folder)
    elif "metric" in result:
        show_own(result, folder)
    else:
        show(
            "\n",
            bold(f"{model}: {result['accuracy']:.2f} % on the test set"),
            f", {folder / 'model.safetensors'}",
        )
        if result.get("control"):
            show(result["control"]["text"])


def show_rate(found: Mapping[str, Any]) -> None:
    """The learning rate that a range test advises."""
    show(
        "\n",
        bold(f"--lr {found['lr']:g}"),
        f", from {len(found['rates'])} steps at rates up to {found['rates'][-1]:g}. Halve and double it where"
        " accuracy matters.",
    )


def show_own(result: Mapping[str, Any], folder: Path) -> None:
    """The metric on the test samples, and where to look."""
    from prunus.report.metric import metric_words
    from prunus.report.words import network_name

    found, name = result["measured"], network_name(result["model"]["name"])
    metric, part = metric_words(result["metric"]), "training" if found["part"] == "train" else "test"
    where = f"on {found['count']:,} {part} {found['of']}"
    show(
        "\n",
        bold(f"{name}: {metric.name} {metric.figure(result['value'], decimals=2)} {where}"),
        f", {folder / 'model.safetensors'}",
    )


def show_pixels(result: Mapping[str, Any], folder: Path) -> None:
    """The metrics on the test pictures, and where to look."""
    from prunus.report.words import network_name

    typed = result["model"]["name"]
    name = network_name(typed)
    rows: list[tuple[str, dict[str, float]]] = [("", result["test"])]
    if "pruned" in result:
        left = result["cost"]["after"]["macs"] / result["cost"]["before"]["macs"] if "cost" in result else 1.0
        rows = [(" before", result["test"]), (f" with {left:.1%} of the MACs", result["pruned"])]
    for what, figures in rows:
        shown = ", ".join(f"{metric} {value:.2f} %" for metric, value in figures.items())
        show(bold(f"{name}{what}: {shown}"), " on the test pictures")
    build = f" --build {typed}" if ":" in typed else ""
    show(f"{folder / 'model.safetensors'}; prunus segment PICTURE --model {folder}{build}")
