"""The model card: what a result says, for whoever finds the network in the Hub."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunus._foundation.arguments import check_fields, checked
from prunus._foundation.json_files import changed
from prunus._foundation.wording import PERCENT, printable
from prunus.errors import HubError
from prunus.report import words
from prunus.report.html import comparison, subtitle
from prunus.report.metric import metric_of
from prunus.report.verdict import dense_accuracy, verdict

LONGEST = 24  # layers that are shown at once
TAGS = ("prunus", "pruning", "structured-pruning", "model-compression")
# What the Hub calls tasks and metrics, by the metric of a task.
PIPELINES = {
    words.TOP_1: ("image-classification", "accuracy"),
    "mean IoU": ("image-segmentation", "mean_iou"),
    "mAP": ("object-detection", "mean_average_precision"),
}
_MARKS = "\\`*_[]<>|"
_BACKSLASHED = str.maketrans({mark: f"\\{mark}" for mark in _MARKS})
_MARKED = re.compile(rf"\\([{re.escape(_MARKS)}])")


@dataclass(frozen=True)
class About:
    """What a card says besides the result.

    Attributes:
        license: of the network, as the Hub names licences: "apache-2.0"; "" = none was given.
        base_model: the network in the Hub that this one was made from, if there is one.
        control: the metric [points] of the dense network after it was trained exactly as the compact one was;
            None = nobody measured it.
        alone: the network is loaded without its dense one being given.
        call: how it is called, as code; "" = with one tensor of the shape that the result says.
    """

    license: str = ""
    base_model: str = ""
    control: float | None = None
    alone: bool = True
    call: str = ""

    def __post_init__(self) -> None:
        check_fields(self, HubError)
        if self.control is not None and not math.isfinite(self.control):
            raise HubError(f"control is the metric of the dense network in points, not {self.control}.")


@checked(HubError)
def card_of(result: Mapping[str, Any], repo_id: str, about: About | None = None) -> str:
    """The model card as text: Markdown under a head of YAML.

    Args:
        result: of a run, without paths of this machine.
        repo_id: where the network will be found, as owner/name.
        about: what the result does not say.
    """
    about, head = about or About(), _head(result, repo_id, about or About())
    result = changed(result, lambda value: _plain(value) if isinstance(value, str) else value)
    parts = [
        f"# {repo_id.partition('/')[2]}",
        _summary(result, about),
        *_section("Before and after", _figures(result, about)),
        *_section("How to load it", _loading(result, repo_id, about)),
        *_section("What was pruned", _layers(result)),
        *_section("Limits", _limits(result, about)),
        *_section("How it was made", _making(result)),
    ]
    return printable(f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n")


# -- the head ------------------------------------------------------------------------------------------------


def _head(result: Mapping[str, Any], repo_id: str, about: About) -> str:
    """Metadata as the Hub reads them."""
    pipeline, metric = PIPELINES.get(_metric(result), ("", ""))
    onnx = any(name in result["files"] for name in ("onnx", "int8"))
    lines = [
        "library_name: prunus",
        f"license: {_quoted(about.license or 'unknown')}",
        "tags:",
        *(f"- {tag}" for tag in (*TAGS, *(("onnx",) if onnx else ()))),
    ]
    if about.base_model:
        lines.append(f"base_model: {_quoted(about.base_model)}")
    if pipeline and _is_picture(result):
        lines += [f"pipeline_tag: {pipeline}", "metrics:", f"- {metric}", *_index(result, repo_id)]
    return "\n".join(lines) + "\n"


def _index(result: Mapping[str, Any], repo_id: str) -> Iterator[str]:
    """What was measured, in the form of the Hub's table of results."""
    pipeline, metric = PIPELINES[_metric(result)]
    data = str((result["model"].get("data") or {}).get("name", "")) or "unnamed"
    value = _steps(result)[-1]["value"]
    yield from (
        "model-index:",
        f"- name: {_quoted(repo_id.partition('/')[2])}",
        "  results:",
        f"  - task:\n      type: {pipeline}",
        f"    dataset:\n      name: {_quoted(data)}",
        f"      type: {_quoted(data)}",
        f"    metrics:\n    - type: {metric}",
        f"      value: {value / 100:.4f}",
        f"      name: {_quoted(_metric(result))}",
    )


def _quoted(text: str) -> str:
    """A text of one line as JSON, which is YAML."""
    return json.dumps(" ".join(str(text).split()), ensure_ascii=False)


def _is_picture(result: Mapping[str, Any]) -> bool:
    return len(result["model"].get("input_shape") or []) == 4


def _metric(result: Mapping[str, Any]) -> str:
    """The metric as the task names it; "" where nothing was measured."""
    return str((result.get("accuracy") or {}).get("metric", "")).removesuffix(PERCENT)


def _steps(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (result.get("accuracy") or {}).get("steps", [])
    return found


# -- what it is ----------------------------------------------------------------------------------------------


def _section(title: str, lines: Iterator[str]) -> list[str]:
    return [f"## {title}", *lines]


def _summary(result: Mapping[str, Any], about: About) -> str:
    outcome = verdict(result).replace(words.FIXED, " ")
    how, steps, beside = subtitle(result), _steps(result), ""
    if steps and about.control is not None:
        against = metric_of(result).change(about.control, steps[-1]["value"])
        beside = f" ({against} against the dense network trained equally)"
    elif steps and (_tuned(result) or dense_accuracy(steps) is None):
        beside = " (no control: see below)"
    return f"{_code(result['model']['name'])}, {how[:1].lower()}{how[1:]}: **{outcome}**{beside}."


def _tuned(result: Mapping[str, Any]) -> int:
    """Epochs that the compact network was trained for after the removal."""
    return sum(len(one["epochs"]) for one in result.get("training") or [] if one["name"] == "fine-tuning")


def _figures(result: Mapping[str, Any], about: About) -> Iterator[str]:
    rows = [(row["name"], row["before"], row["after"], row["change"]) for row in comparison(result)]
    steps = _steps(result)
    if steps and about.control is not None:
        difference = metric_of(result).change(about.control, steps[-1]["value"])
        dense = metric_of(result).text(about.control)
        rows.append(("*Control:* the dense network, trained equally", dense, "", difference))
    yield _table(("", "before", "after", "change"), rows)
    yield _measured(result)
    yield _control(result, about)
    if (text := _machine(result)) != "":
        yield text


def _measured(result: Mapping[str, Any]) -> str:
    """How the metric was measured, and what it was along the way; or that it was not."""
    steps = _steps(result)
    if not steps:
        return "**Accuracy was not measured**: no test samples were given."
    metric = metric_of(result)
    along = " → ".join(f"{metric.figure(step['value'])} {step['step']}" for step in steps)
    path = f" Along the way: {along}." if len(steps) > 2 else ""
    note = result["accuracy"]["note"] or "Who made it measured it by a task of their own."
    return f"{metric.title}: {note}{path}"


def _control(result: Mapping[str, Any], about: About) -> str:
    """What the metric is to be compared with: without it, a change says nothing about pruning."""
    steps = _steps(result)
    if not steps:
        return "**There is no control**: nothing is known of what the removal cost."
    if about.control is not None:
        return (
            "The control is the dense network after the same training as the compact one, as measured by"
            " whoever made this; the change in its row is compact against control."
        )
    if dense_accuracy(steps) is None:
        return (
            "**There is no control**: the network was pruned while it trained, and no dense one was trained."
        )
    if tuned := _tuned(result):
        return (
            f"**There is no control**: the compact network was fine-tuned for {tuned}"
            f" epoch{'s' if tuned != 1 else ''} after the removal and the dense one was not, so the change"
            " above is that of both together."
        )
    return "Nothing was trained after the removal, so the dense network as it was is the control."


def _machine(result: Mapping[str, Any]) -> str:
    """What latency was measured on."""
    rows, surroundings = result.get("latency") or [], result["environment"]
    if not rows and not (result.get("dynamic") or {}).get("latency"):
        return "Latency was not measured."
    batch, threads = (rows[-1]["batch"], rows[-1]["threads"]) if rows else (1, 1)
    where = words.machine(
        surroundings.get("processor") or "an unnamed processor",
        surroundings.get("cpu_flags") or (),
        batch,
        threads,
    )
    return f"Latency: medians on {where}, before and after in turns; other machines differ."


def _loading(result: Mapping[str, Any], repo_id: str, about: About) -> Iterator[str]:
    name, shape = result["model"]["name"], result["model"].get("input_shape") or []
    usual = f"model(torch.randn({', '.join(map(str, shape))}))" if shape else "model(inputs)"
    build = "" if about.alone else ", build=build_dense"
    yield (
        "```python\nimport prunus, torch  # pip install 'prunus[hub]'\n"
        f'model = prunus.from_pretrained("{repo_id}"{build})  # revision= pins a commit\n'
        f"outputs = {about.call or usual}\n```"
    )
    if not about.alone:
        yield (
            f"`build_dense` is a function that makes the dense {_code(name)}, with any weights: this network"
            " has its class, and no code comes from a file."
        )
    data = result["model"].get("data") or {}
    if data.get("mean") and data.get("std"):
        mean, std = (", ".join(f"{one:.4g}" for one in data[key]) for key in ("mean", "std"))
        yield f"Inputs are from 0 to 1, then normalised: mean {mean}; standard deviation {std}."
    if data.get("classes"):
        shown = ", ".join(data["classes"][:LONGEST])
        more = len(data["classes"]) - LONGEST
        yield f"Classes, in order: {shown}{f' and {more} more (`config.json`)' if more > 0 else ''}."
    if "onnx" in result["files"]:
        difference = (result.get("onnx") or {}).get("relative")
        same = (
            f"; its outputs differ by at most {words.error(difference)} of the largest" if difference else ""
        )
        yield f"{_code(result['files']['onnx']['path'])} computes the same in ONNX Runtime{same}."
    if "int8" in result["files"]:
        yield f"{_code(result['files']['int8']['path'])} is the network in 8 bits, with the figures above."


def _layers(result: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (
            _code(row["name"]),
            str(row["width_before"]),
            str(row["width_after"]),
            words.percent(row["macs_after"] / row["macs_before"]) if row["macs_before"] else "–",
        )
        for row in result["layers"]
    ]
    went = sum(row["width_before"] - row["width_after"] for row in result["layers"])
    if result.get("dynamic"):
        yield "Every channel is there; gates open those that an input needs."
        return
    thinner = sum(row["width_after"] < row["width_before"] for row in result["layers"])
    score = result["target"].get("score")
    chosen = f", chosen by {score}" if score else ""
    yield (
        f"{went:,} output channels of {thinner} of {len(rows)} layers are gone{chosen}; `plan.json` says"
        " which."
    )
    table = _table(("layer", "channels before", "after", "MACs left"), rows)
    yield (
        table
        if len(rows) <= LONGEST
        else f"<details><summary>All {len(rows)} layers</summary>\n\n{table}\n\n</details>"
    )


def _limits(result: Mapping[str, Any], about: About) -> Iterator[str]:
    yield "\n".join(f"- {line}" for line in _limit_lines(result, about))


def _limit_lines(result: Mapping[str, Any], about: About) -> Iterator[str]:
    checked = result["verification"]
    if checked["exact"]:
        yield (
            f"When it was cut it computed what the masked network computes (relative error"
            f" {words.error(checked['relative'])}); what was trained since is its own."
        )
    else:
        yield (
            "The removal is inexact: what is left does not compute what the masked network computes (relative"
            f" error {words.error(checked['relative'])})."
        )
    if result["model"].get("random") and not result.get("training"):
        yield "**Its weights are random**: nothing was trained, so only its cost means anything."
    data = (result["model"].get("data") or {}).get("name")
    if data:
        yield f"It knows what {data} holds, and has been tried on nothing else."
    if not about.license:
        yield "No licence was given: ask whoever made it before you use it."
    yield from result.get("notes") or []


def _making(result: Mapping[str, Any]) -> Iterator[str]:
    surroundings = result["environment"]
    versions = ", ".join(
        f"{_plain(name)} {number}" for name, number in (surroundings.get("versions") or {}).items()
    )
    if result.get("command"):
        yield f"```\n{_raw(result['command']).replace('```', '')}\n```"
    seed = f" Seed {result['seed']}." if result.get("seed") is not None else ""
    yield f"{result['created'][:10]}, Python {surroundings.get('python', '?')}: {versions}.{seed}"


# -- Markdown ------------------------------------------------------------------------------------------------


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """A text in which nothing is markup, on one line."""
    return " ".join(str(text).split()).translate(_BACKSLASHED)


def _raw(prose: str) -> str:
    """What a text of `_plain` was, for where Markdown takes everything as it is."""
    return _MARKED.sub(r"\1", prose)


def _code(prose: str) -> str:
    """A name as code, in a table as well."""
    return f"`{_raw(str(prose)).replace('`', '').replace('|', '/')}`"
