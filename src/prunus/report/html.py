"""The report page: a result turned into rows and figures for the template; nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prunus._foundation.json_files import all_printable
from prunus.errors import MissingExtraError
from prunus.report import by_class, examples, int8_panel, words
from prunus.report.metric import metric_of
from prunus.report.result import check
from prunus.report.verdict import dense_accuracy, verdict

if TYPE_CHECKING:
    from types import ModuleType

Result = Mapping[str, Any]

NO_IMAGES: Mapping[str, str] = {}
# Each figure is drawn once for a desktop column and once for a phone, so that its text has the same size on
# both.
WIDTHS = {"wide": 704.0, "narrow": 342.0}


def require() -> ModuleType:
    """The template engine, or MissingExtraError naming the extra where it, or what plots need, is missing."""
    try:
        import jinja2

        from prunus.report import plots  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"The report needs {error.name}; install it with: pip install 'prunus[report]'."
        ) from error
    found: ModuleType = jinja2
    return found


def render(result: Result, images: Mapping[str, str] = NO_IMAGES) -> str:
    """The page as text; see `prunus.report.write` for arguments and errors."""
    check(result)
    require()
    result, images = all_printable(result), all_printable(images)
    return fill(
        "report.html.j2",
        result=result,
        verdict=verdict(result),
        subtitle=subtitle(result),
        comparison=comparison(result),
        metric=metric_of(result).title,
        layer_table=layer_table(result["layers"]),
        timings=timings_table(result.get("timings") or []),
        runtime=words.RUNTIMES.get(result["target"].get("runtime", ""), result["target"].get("runtime", "")),
        pinned=pinned_table(result.get("pinned") or []),
        facts=facts(result),
        int8=int8_panel.section(result["int8"]) if result.get("int8") else None,
        classes=by_class.table(result["by_class"]) if result.get("by_class") else None,
        examples=examples.section(result["examples"], images) if result.get("examples") else None,
        figures=_figures(result),
    )


def fill(template: str, **values: Any) -> str:
    """One of the pages, with what it shows; raises MissingExtraError if the extra
    `report` is not installed.
    """
    jinja2 = require()
    loader = jinja2.PackageLoader("prunus.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, loader=loader
    )
    environment.filters |= {
        "percent": words.percent,
        "size": words.size,
        "error": words.error,
        "network_name": words.network_name,
        "breakable": _breakable,
    }
    try:
        page: str = environment.get_template(template).render(values)
    except jinja2.UndefinedError as error:  # as where a dictionary lacks a key, which it would be in Python
        raise LookupError(str(error)) from error
    return page


def subtitle(result: Result) -> str:
    """What was asked for, in one line: pruned to 50 % of its MACs by norm-l2, uniform."""
    target = result["target"]
    if result.get("dynamic"):
        return f"Gates open the channels that an input needs, {target['text']}"
    if target.get("kind") == "rate" and not target["value"]:
        return f"Pruned to {target['text']}"
    by = f" by {target['score']}" if target["score"] else ""  # a caller in Python need not say it
    return f"Pruned to {target['text']}{by}, {target['scope']}"


def comparison(result: Result) -> list[dict[str, str]]:
    """The rows of the table of figures before and after."""
    before, after = result["cost"]["before"], result["cost"]["after"]
    rows = [
        _compared("MACs", before["macs"], after["macs"], words.count),
        _compared("Parameters", before["params"], after["params"], words.count),
        _compared("Size of parameters and buffers", before["bytes"], after["bytes"], words.size),
        _compared(
            "Peak activations", before["peak_activation_bytes"], after["peak_activation_bytes"], words.size
        ),
    ]
    for row in words.paired((result.get("dynamic") or {}).get("latency", [])):
        rows.append(
            _compared(f"Median latency, {row['runtime']}", row["before"], row["after"], words.milliseconds)
        )
    for row in result.get("latency") or []:
        a, b = row["before"], row["after"]
        entry = _compared(f"Latency, {row['runtime']}", a["median_ms"], b["median_ms"], words.milliseconds)
        change = words.times(row["speedup"]["factor"], 1) if row["speedup"]["certain"] else "within the noise"
        rows.append({**entry, "change": change})
    steps = (result.get("accuracy") or {}).get("steps", [])
    if steps:
        metric, first, last = metric_of(result), dense_accuracy(steps), steps[-1]["value"]
        rows.append(
            {
                "name": f"{metric.title} on the test set",
                "before": "–" if first is None else metric.text(first),
                "after": metric.text(last),
                "change": (
                    "no dense training"
                    if first is None
                    else metric.change(first, last)
                    if len(steps) > 1
                    else ""
                ),
            }
        )
    return rows + (int8_panel.rows(result["int8"]) if result.get("int8") else [])


def layer_table(layers: Sequence[Result]) -> list[dict[str, str]]:
    """Every layer in numbers: for those who want to look one up."""
    return [
        {
            "name": row["name"],
            "op": row["op"],
            "weight": " × ".join(str(length) for length in row["weight_shape"]),
            "width": _arrow(row["width_before"], row["width_after"], str),
            "macs": _arrow(row["macs_before"], row["macs_after"], words.count),
            "params": _arrow(row["params_before"], row["params_after"], words.count),
        }
        for row in layers
    ]


def timings_table(timings: Sequence[Result]) -> list[dict[str, str]]:
    """Every plan that a latency search measured; the chosen one is the slowest that was quick enough."""
    quick = [row["measured_ms"] / row["dense_ms"] for row in timings if row["accepted"]]
    rows = []
    for row in timings:
        share = row["measured_ms"] / row["dense_ms"]
        verdict = "too slow" if not row["accepted"] else "chosen" if share == max(quick) else "quick enough"
        rows.append(
            {
                "predicted": words.milliseconds(row["predicted_ms"]),
                "measured": words.milliseconds(row["measured_ms"]),
                "dense": words.milliseconds(row["dense_ms"]),
                "share": words.percent(share),
                "verdict": verdict,
            }
        )
    return rows


def pinned_table(pinned: Sequence[Result], longest: int = 4) -> list[dict[str, str]]:
    """Reasons for what was never to be pruned; entries with one reason and place are one row."""
    merged: dict[tuple[str, str, str], tuple[int, list[str]]] = {}
    for entry in pinned:
        key = (entry["reason"], entry["operator"], entry["where"])
        channels, names = merged.get(key, (0, []))
        merged[key] = (
            channels + entry["channels"],
            [*names, *(name for name in entry["names"] if name not in names)],
        )
    rows = []
    for (reason, operator, where), (channels, names) in merged.items():
        rest = len(names) - longest
        shown = ", ".join(names[:longest]) + (f" and {rest} more" if rest > 0 else "")
        rows.append(
            {
                "names": shown,
                "channels": str(channels),
                "reason": reason,
                "operator": operator,
                "where": where,
            }
        )
    return rows


def facts(result: Result) -> list[tuple[str, str]]:
    """The environment in words."""
    environment = result["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    found = [
        ("Processor", f"{environment['processor'] or environment['machine']}, {environment['cores']} cores"),
        ("Vector instructions", " ".join(environment["cpu_flags"]) or "unknown"),
        ("Accelerator", environment.get("accelerator") or "none"),
        ("System", f"{environment['system']} {environment['machine']}, Python {environment['python']}"),
        ("Versions", versions),
        ("Compensation", result.get("compensation", "")),
        ("Seed", str(result.get("seed", ""))),
        ("Made", result["created"]),
    ]
    return [(name, text) for name, text in found if text]


def _figures(result: Result) -> dict[str, dict[str, str]]:
    """Every figure that this result has data for, drawn for each width."""
    from prunus.report import plots
    from prunus.report.steps import accuracy
    from prunus.report.trials import search

    layers = [row for row in result["layers"] if row["width_before"] > 0]
    drawn: dict[str, Callable[[float], str]] = {}
    steps, metric = (result.get("accuracy") or {}).get("steps", []), metric_of(result)
    if len(steps) > 1:
        drawn["accuracy"] = lambda width: accuracy(steps, width, metric)
    if layers and not result.get("dynamic"):
        drawn["widths"] = lambda width: plots.layers(layers, "width", width)
        drawn["macs"] = lambda width: plots.layers(layers, "macs", width)
    if result.get("search"):
        found = result["search"]
        drawn["search"] = lambda width: search(found["trials"], found["limit"], width, metric)
    stages = [stage for stage in result.get("training") or [] if stage["epochs"]]
    if stages:
        drawn["training"] = lambda width: plots.training(stages, width, metric)
    if result.get("selection"):
        drawn["kept"] = lambda width: plots.kept(
            result["selection"]["samples"], result["selection"]["total"], width
        )
    if result.get("soft"):
        drawn["alive"] = lambda width: plots.alive(result["soft"]["record"], result["soft"]["sizes"], width)
    timed = stages[0]["epochs"] if stages and (result.get("soft") or result.get("selection")) else []
    if any(epoch["seconds"] > 0 for epoch in timed):  # what was to make them faster
        drawn["seconds"] = lambda width: plots.seconds(timed, width)
    if result.get("similarity"):
        from prunus.report import clusters

        drawn["clusters"] = lambda width: clusters.dendrograms(result["similarity"]["groups"], width)
    if (result.get("history") or {}).get("groups"):
        from prunus.report import histories

        drawn["histories"] = lambda width: histories.norms(result["history"]["groups"], width)
    if result.get("dynamic"):
        drawn |= _of_gates(result["dynamic"])
    if result.get("latency"):
        drawn["latency"] = lambda width: plots.latency(result["latency"], width)
    return {name: {kind: draw(width) for kind, width in WIDTHS.items()} for name, draw in drawn.items()}


def _of_gates(panel: Result) -> dict[str, Callable[[float], str]]:
    """The figures of a gated network."""
    from prunus.report import activity

    return {
        "shares": lambda width: activity.shares(panel, width),
        "curve": lambda width: activity.curve(panel, width),
        "classes": lambda width: activity.classes(panel, width),
        "percentiles": lambda width: activity.percentiles(panel["latency"], width),
    }


def _breakable(name: str) -> Any:
    """A dotted name that a narrow column may break after its dots, and that is still one name when copied."""
    from markupsafe import Markup, escape

    return escape(name).replace(".", Markup(".<wbr>"))


def _compared(name: str, before: float, after: float, write: Callable[[float], str]) -> dict[str, str]:
    change = f"{words.times(before, after)}" if before != after else "same"
    return {"name": name, "before": write(before), "after": write(after), "change": change}


def _arrow(before: float, after: float, write: Callable[[Any], str]) -> str:
    return write(before) if before == after else f"{write(before)} → {write(after)}"
