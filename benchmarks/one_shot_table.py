"""The results of `benchmarks.one_shot` as a Markdown table."""

from __future__ import annotations

from statistics import mean

from benchmarks.rows import Row, page, spread

KIND = ("data", "network", "weights", "macs")  # what the rows of one table have in common
WAY = ("score", "scope", "compensation")
CONTROL = ("reconstruction", "uniform", "refit")  # the default until widths were measured
ABOUT = (
    "Mean and standard deviation over the seeds, which choose the calibration samples. Figures are of "
    "test samples; batch norms are estimated anew where held-out training samples agree. The last column but "
    f"one is the difference from {', '.join(CONTROL)} with the same seed."
)


def table(result: Row) -> str:
    """One table per network and share of MACs, the best way first."""
    return page("One shot, at equal MACs", result["rows"], ABOUT, lambda: _sections(result["rows"]), _name)


def _name(row: Row) -> str:
    return f"{row['network']} {row['macs']:.1%}, {', '.join(_of(row, WAY))}, seed {row['seed']}"


def _of(row: Row, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(row[name] for name in names)


def _sections(everything: list[Row]) -> list[str]:
    lines: list[str] = []
    for kind in sorted({_of(row, KIND) for row in everything}, key=str):
        rows = [row for row in everything if _of(row, KIND) == kind]
        data, network, weights, macs = kind
        metric = rows[0].get("metric", "top-1 accuracy")
        lines += [
            *([""] if lines else []),
            f"## {data}, {network} ({weights}), {float(macs):.1%} of the MACs left, {metric}",
            "",
            f"Before: {rows[0]['accuracy']['dense']:.2f}, of {rows[0]['samples']:,} samples.",
            "",
            f"| score | widths | compensation | {metric} | lost | minus uniform | seeds |",
            "|---|---|---|---|---|---|---|",
        ]
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault(_of(row, WAY), []).append(row)
        controls = {row["seed"]: _small(row) for row in groups.get(CONTROL, [])}
        best = sorted(groups.values(), key=lambda some: -mean(_small(row) for row in some))
        lines += [_line(some, controls) for some in best]
    return lines


def _line(some: list[Row], controls: dict[int, float]) -> str:
    way = _of(some[0], WAY)
    apart = [_small(row) - controls[row["seed"]] for row in some if row["seed"] in controls]
    cells = [
        *way,
        spread([_small(row) for row in some]),
        f"{mean(row['accuracy']['dense'] - _small(row) for row in some):.2f}",
        "" if way == CONTROL else spread(apart, "{:+.2f}"),
        str(len(some)),
    ]
    return "| " + " | ".join(cells) + " |"


def _small(row: Row) -> float:
    accuracy: float = row["accuracy"]["small"]
    return accuracy
