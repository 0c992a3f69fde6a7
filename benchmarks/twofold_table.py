"""The results of `benchmarks.twofold` as a Markdown table."""

from __future__ import annotations

from statistics import mean

from benchmarks.rows import Row, page, spread

BASE = "all data"
KIND = (
    "data",
    "network",
    "epochs",
    "start",
    "measured_on",
    "lr",
)  # what the rows of one table have in common
HEADER = "| variant | seeds | accuracy | against all data | time | choosing | samples | MACs left |"


def table(result: Row) -> str:
    """One table per network and number of epochs; all data is what the others are measured by."""
    about = (
        "Mean and standard deviation over the seeds; accuracy of the last epoch (compact where pruned); "
        "wall time of the training, the making of aggregated points, all choosing and the removal included, "
        "relative to all data with the same seeds."
    )
    return page("Two-fold training", result["rows"], about, lambda: _sections(result["rows"]), _name)


def _name(row: Row) -> str:
    return f"{row['variant']} ({row['network']}, {row['start']}), seed {row['seed']}"


def _sections(everything: list[Row]) -> list[str]:
    lines: list[str] = []
    for kind in dict.fromkeys(tuple(row[key] for key in KIND) for row in everything):
        rows = [row for row in everything if tuple(row[key] for key in KIND) == kind]
        data, network, epochs, start, measured_on, lr = kind
        begin = "from scratch" if start == "scratch" else f"from {start}"
        lines += [
            *([""] if lines else []),
            f"## {data}, {network}, {begin}, {epochs} epochs, peak rate {lr:g}, {measured_on} accuracy",
            "",
            "; ".join(dict.fromkeys(row["device"] for row in rows)),
            "",
            HEADER,
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(name, rows) for name in dict.fromkeys(row["variant"] for row in rows)]
    return lines


def _line(name: str, everything: list[Row]) -> str:
    rows = [row for row in everything if row["variant"] == name]
    full = {row["seed"]: row for row in everything if row["variant"] == BASE}
    drops = [row["accuracy"] - full[row["seed"]]["accuracy"] for row in rows if row["seed"] in full]
    timed = [
        row for row in rows if "seconds" in row
    ]  # rows that were measured beside other work have no times
    clocks = {
        (row["seed"], row["device"]): row["seconds"]
        for row in everything
        if row["variant"] == BASE and "seconds" in row
    }
    times = [
        row["seconds"] / clocks[row["seed"], row["device"]]
        for row in timed
        if (row["seed"], row["device"]) in clocks
    ]
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
