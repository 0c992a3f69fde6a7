"""The results of `benchmarks.history_lenet` as Markdown tables."""

from __future__ import annotations

from statistics import mean

from benchmarks.rows import Row, page, spread

HBFP = "HBFP"
ABOUT = (
    "FLOPs are 2 MACs; seconds are those of one processor core, for the whole run. Controls: the same "
    "rounds without the regulariser; a network of the last widths with new weights, trained by the recipe "
    "of the last retraining for all epochs of HBFP together, or for those of that retraining alone; the "
    "dense network trained for all epochs. The last column but one is the difference from HBFP with the "
    "same seed."
)


def table(result: Row) -> str:
    """One row per way, and one per run of HBFP."""
    title = "History-based filter pruning of LeNet-5 on MNIST"
    return page(title, result["rows"], ABOUT, lambda: _ways(result["rows"]), _name)


def _name(row: Row) -> str:
    return f"{row['way']}, seed {row['seed']}"


def _ways(rows: list[Row]) -> list[str]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["way"], []).append(row)
    control = {row["seed"]: row["test_error"] for row in groups.get(HBFP, [])}
    lines = [
        "| | widths | epochs | FLOPs removed | test error [%] | held out [%] | minus HBFP | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, some in sorted(groups.items(), key=lambda one: mean(row["test_error"] for row in one[1])):
        apart = [row["test_error"] - control[row["seed"]] for row in some if row["seed"] in control]
        widths = ", ".join(dict.fromkeys("-".join(map(str, row["widths"])) for row in some))
        cells = [
            way,
            widths,
            str(some[0]["epochs"]),
            f"{mean(row['macs_removed']['all'] for row in some):.1%}",
            spread([row["test_error"] for row in some]),
            spread([row["held_out_error"] for row in some]),
            "" if way == HBFP else spread(apart, "{:+.2f}"),
            str(len(some)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *_runs(groups.get(HBFP, []))]


def _runs(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    lines = [
        "## HBFP, run by run",
        "",
        (
            "| seed | test error before | test error | held out before | held out | widths | FLOPs removed |"
            " of the convolutions | CPU seconds |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        widths = "-".join(map(str, row["widths"]))
        lines.append(
            f"| {row['seed']} | {row['test_error_before']:.2f} % | {row['test_error']:.2f} % |"
            f" {row['held_out_error_before']:.2f} % | {row['held_out_error']:.2f} % | {widths} |"
            f" {row['macs_removed']['all']:.2%} | {row['macs_removed']['convolutions']:.2%} |"
            f" {row['cpu_seconds']:.0f} |"
        )
    return lines
