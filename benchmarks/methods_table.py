"""The results of `benchmarks.methods` as a Markdown table."""

from __future__ import annotations

from statistics import mean

from benchmarks.rows import Row, page, spread

KIND = (
    "data",
    "network",
    "weights",
    "rate",
    "epochs",
    "measured_on",
)  # what the rows of one table have in common
STEPS = ("removed", "compensated", "recalibrated", "by held-out", "tuned")


def table(result: Row) -> str:
    """One table per network and rate, the best recalibrated network first."""
    about = (
        "Mean and standard deviation over the seeds, which choose the calibration samples. By held-out: "
        "with or without recalibration, whichever is better on training samples that were not calibrated "
        "with, which is what `prunus prune` does. Seconds are for scoring and compensation."
    )
    return page("One-shot pruning", result["rows"], about, lambda: _sections(result["rows"]), _name)


def _name(row: Row) -> str:
    tuned = f" + {row['epochs']} epochs" if row["epochs"] else ""
    return (
        f"{row['network']} {row['rate']:.0%}, {row['score']} + {row['compensation']}{tuned}, seed"
        f" {row['seed']}"
    )


def _sections(everything: list[Row]) -> list[str]:
    lines: list[str] = []
    for kind in sorted({tuple(row[key] for key in KIND) for row in everything}):
        rows = [row for row in everything if tuple(row[key] for key in KIND) == kind]
        data, network, weights, rate, epochs, measured_on = kind
        tuned = f", then {epochs} epochs" if epochs else ""
        steps = [step for step in STEPS if any(step in row["accuracy"] for row in rows)]
        judged = steps[-1]
        lines += [
            *([""] if lines else []),
            (
                f"## {data}, {network} ({weights}), {rate:.0%} of the inner filters removed{tuned},"
                f" {measured_on} accuracy"
            ),
            "",
            f"Before: {rows[0]['accuracy']['dense']:.2f}. MACs left: {rows[0]['macs_left']:.1%}.",
            "",
            "| score | compensation | " + " | ".join(steps) + " | seconds | seeds |",
            "|---" * (4 + len(steps)) + "|",
        ]
        names = dict.fromkeys((row["score"], row["compensation"]) for row in rows)
        by_name = {
            name: [row for row in rows if (row["score"], row["compensation"]) == name] for name in names
        }
        best = sorted(
            by_name.items(),
            key=lambda item: (
                -mean(row["accuracy"].get(judged, row["accuracy"]["recalibrated"]) for row in item[1])
            ),
        )
        lines += [_line(name, found, steps) for name, found in best]
    return lines


def _line(name: tuple[str, str], rows: list[Row], steps: list[str]) -> str:
    values = [spread([row["accuracy"][step] for row in rows if step in row["accuracy"]]) for step in steps]
    timed = [
        row["seconds"] for row in rows if "seconds" in row
    ]  # rows that were measured beside other work have none
    return "| " + " | ".join([*name, *values, f"{mean(timed):.1f}" if timed else "", str(len(rows))]) + " |"
