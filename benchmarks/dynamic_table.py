"""The results of `benchmarks.dynamic` as Markdown tables."""

from __future__ import annotations

from benchmarks.rows import Row, page

TIMES = (
    "| runtime | batch | network | p50 [ms] | p95 [ms] | mean [ms] | p50 of dense / p50 | mean of dense /"
    " mean |"
)


def table(result: Row) -> str:
    """One section per network."""
    about = (
        "Every stage is what is left of the dense network at a share of its MACs, taught by it. Where the "
        "dense network has public weights, which have seen the training samples, thresholds were found on "
        "one half of the test samples, and all figures are of the other half; where it was trained from "
        "scratch, thresholds were found on training samples that were held out, and figures are of all test "
        "samples. MACs are those of all stages that an input passes, on average, relative to the dense "
        "network. Controls: the dense network, trained on for as many epochs as a stage, taught by itself; "
        "and the shapes of the stages with new weights, taught by it for as many epochs, or without a "
        "teacher for its epochs and these together. Latency on one thread, networks in turns."
    )
    rows = [*result["rows"], *([result["large"]] if "large" in result else [])]
    return page("Dynamic pruning: cascades", rows, about, lambda: _sections(rows), _title)


def _title(row: Row) -> str:
    if "called" not in row:
        return "ResNet-18 at 224 pixels, half of the channels of every layer live"
    return (
        f"{row['called']}, {row['network']} ({row['weights'] or 'from scratch'}), {_schedule(row)}, seed"
        f" {row['seed']}"
    )


def _sections(rows: list[Row]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        section = _section(row) if "called" in row else [f"## {_title(row)}", "", *times(row["latency"])]
        lines += [*([""] if lines else []), *section]
    return lines


def _section(row: Row) -> list[str]:
    dense = row["alone"]["1"]
    lines = [
        f"## {_title(row)}",
        "",
        "| network | threshold for | accuracy | against dense | MACs | answered by each stage |",
        "|---|---|---|---|---|---|",
    ]
    for stage, macs in zip(row["stages"], row["macs"]):
        accuracy = row["alone"][stage]
        name = "dense" if stage == "1" else f"static {stage}"
        lines.append(
            f"| {name} | | {accuracy:.2f} | {accuracy - dense:+.2f} | {macs / row['macs'][-1]:.0%} | |"
        )
    for name, accuracy in row.get("controls", {}).items():
        lines.append(f"| control: {name} | | {accuracy:.2f} | {accuracy - dense:+.2f} | | |")
    for number, one in enumerate(row["cascades"]):
        what = (
            f"{one['budget']:.0%} of the MACs" if "budget" in one else f"{one['tolerance']:g} points at most"
        )
        stages = ", ".join(one["stages"])
        answered = ", ".join(f"{share:.0%}" for share in one["answered"])
        lines.append(
            f"| cascade {number} of {stages} | {what} | {one['accuracy']:.2f} |"
            f" {one['accuracy'] - dense:+.2f} | {one['cost']:.0%} | {answered} |"
        )
    return [*lines, "", *times(row.get("latency", []))]


def _schedule(row: Row) -> str:
    return f"{row['epochs']} epochs, stages {row['stage_epochs']}"


def times(measured: list[Row]) -> list[str]:
    """Latency percentiles, and how many times faster than dense they are."""
    if not measured:
        return []
    lines = [TIMES, "|---|---|---|---|---|---|---|---|"]
    for one in measured:
        dense = next(
            other
            for other in measured
            if other["network"] == "dense" and all(other[key] == one[key] for key in ("runtime", "batch"))
        )
        lines.append(
            f"| {one['runtime']} | {one['batch']} | {one['network']} | {one['p50']:.2f} | {one['p95']:.2f} |"
            f" {one['mean']:.2f} | {dense['p50'] / one['p50']:.2f} | {dense['mean'] / one['mean']:.2f} |"
        )
    return lines
