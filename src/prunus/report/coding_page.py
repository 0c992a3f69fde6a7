"""The page of a coded file: what each stage gave, which tensors take the bytes, and what the search tried."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunus._foundation.json_files import all_printable
from prunus.report import words
from prunus.report.html import WIDTHS, fill, require
from prunus.report.metric import metric_words
from prunus.report.result import write_text

Result = Mapping[str, Any]


def write(result: Result, path: Path | str) -> None:
    """Write the page as a single HTML file that asks for nothing else, atomically.

    Args:
        result: what `prunus.runs.packing.pack` returns.
        path: where to write; an existing file is replaced.

    Raises MissingExtraError where the extra `report` is not installed.
    """
    write_text(render(result), path)


def render(result: Result) -> str:
    """The page as text; see `write`."""
    require()
    from prunus.report import coding_plots

    result = all_printable(result)

    figures = {
        "stages": {kind: coding_plots.stages(result["stages"], width) for kind, width in WIDTHS.items()},
        "layers": {kind: coding_plots.layers(result["layers"], width) for kind, width in WIDTHS.items()},
    }
    if result["limit"] is not None and result["trials"]:
        figures["search"] = {kind: _search(result, width) for kind, width in WIDTHS.items()}
    return fill(
        "coding.html.j2",
        result=result,
        verdict=verdict(result),
        asked=asked(result),
        facts=facts(result),
        rows=rows(result),
        figures=figures,
    )


def verdict(result: Result) -> str:
    """The outcome in one line."""
    smaller = f"{words.times(result['original_bytes'], result['bytes'])} smaller"
    if result["after"] is None:
        return smaller
    outcome = metric_words(result["metric"]).verdict(result["before"], result["after"])
    return f"{smaller}, {words.unbroken(outcome)}"


def asked(result: Result) -> str:
    """What was asked for, as a sentence goes on."""
    ((kind, value),) = result["target"].items()
    return {
        "tolerance": f"at most {metric_words(result['metric']).amount(value)} lost on held-out samples, with"
        f" {100 * result['confidence']:g}{words.SPACE}% confidence",
        "bytes": f"at most {words.size(value) if value >= 1 else words.percent(value)}",
        "bits": f"{value:g} bits for every weight",
        "error": f"an error of {value:g} of the variance in the outputs of every layer",
        "rate": f"grids that are trained, a thousand bytes adding {value:g} to the loss",
    }[kind]


def facts(result: Result) -> list[tuple[str, str]]:
    """Lines below the figures."""
    found = [
        ("Network", f"{result['model']['name']} on {result['data']}"),
        ("Size", f"{words.size(result['original_bytes'])} → {words.size(result['bytes'])}"),
    ]
    if result["after"] is not None:
        metric = metric_words(result["metric"])
        before, after = (metric.figure(result[key], decimals=2) for key in ("before", "after"))
        found.append((metric.title, f"{before} → {after} on the test set"))
    weights = sum(layer["elements"] for layer in result["layers"] if layer["kind"] != "plain")
    if weights:
        bits = 8 * sum(layer["bytes"] for layer in result["layers"]) / weights
        found.append(("Bits", f"{bits:.2f} for each of {weights:,} weights"))
    found.append(("Time", f"{sum(result['seconds'].values()):.0f} s"))
    return found


def rows(result: Result) -> list[dict[str, str]]:
    """One row per tensor that takes bytes."""
    return [
        {
            "name": layer["name"],
            "elements": f"{layer['elements']:,}",
            "zeros": words.percent(layer["zeros"] / layer["elements"]) if layer["kind"] == "grid" else "–",
            "levels": f"{layer['levels']:,}",
            "bits": f"{layer['bits']:.2f}",
            "size": words.size(layer["bytes"]),
        }
        for layer in result["layers"]
        if layer["bytes"]
    ]


def _search(result: Result, width: float) -> str:
    from prunus.report import trials

    tried = [trial | {"left": trial["bytes"] / result["original_bytes"]} for trial in result["trials"]]
    return trials.search(tried, result["limit"], width, metric_words(result["metric"]), "Bytes")


__all__ = ["asked", "facts", "render", "require", "rows", "verdict", "write"]
