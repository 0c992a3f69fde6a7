"""The results of `benchmarks.twofold` as a Markdown table."""

from __future__ import annotations

from statistics import mean

from benchmarks.rows import Row, heading, spread

BASE = "all data"
KIND = ("data", "network", "epochs", "start", "measured_on", "device", "lr")  # what the rows of one table have in common
HEADER = "| variant | seeds | accuracy | against all data | time | choosing | samples | MACs left |"


def table(result: Row) -> str:
    """One table per network and number of epochs; all data is what the others are measured by."""
    if not result["rows"]:
        return "# Two-fold training\n\nNothing has been measured yet.\n"
    lines = heading(
        "Two-fold training",
        result,
        "Mean and standard deviation over the seeds; accuracy of the last epoch (compact where pruned); wall time of the training, the making of",
        "aggregated points, all choosing and the removal included, relative to all data with the same seeds.",
    )
    for kind in dict.fromkeys(tuple(row[key] for key in KIND) for row in result["rows"]):
        rows = [row for row in result["rows"] if tuple(row[key] for key in KIND) == kind]
        data, network, epochs, start, measured_on, device, lr = kind
        begin = "from scratch" if start == "scratch" else f"from {start}"
        lines += [
            "",
            f"## {data}, {network}, {begin}, {epochs} epochs, peak rate {lr:g}, {measured_on} accuracy",
            "",
            device,
            "",
            HEADER,
            "|---|---|---|---|---|---|---|---|",
        ]
        base = {row["seed"]: row for row in rows if row["variant"] == BASE}
        lines += [_line(name, [row for row in rows if row["variant"] == name], base) for name in dict.fromkeys(row["variant"] for row in rows)]
    return "\n".join(lines) + "\n"


def _line(name: str, rows: list[Row], base: dict[int, Row]) -> str:
    drops = [row["accuracy"] - base[row["seed"]]["accuracy"] for row in rows if row["seed"] in base]
    timed = [row for row in rows if "seconds" in row]  # rows that were measured beside other work have no times
    times = [row["seconds"] / base[row["seed"]]["seconds"] for row in timed if "seconds" in base.get(row["seed"], {})]
    cells = [
        name,
        str(len(rows)),
        spread([row["accuracy"] for row in rows], "{:.2f}"),
        spread(drops, "{:+.2f}"),
        spread(times, "{:.2f}"),
        f"{mean(row['choosing_seconds'] / row['seconds'] for row in timed):.1%}" if timed else "",
        f"{mean(row['samples'] for row in rows):.0%}",
        f"{mean(row['macs_left'] for row in rows):.0%}",
    ]
    return "| " + " | ".join(cells) + " |"
