"""The results of `benchmarks.every_method` as Markdown tables, and what `prunus methods` shows of them."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

from benchmarks.rows import Row, page, spread

KIND = (
    "called",
    "network",
    "weights",
    "epochs",
    "lr",
    "train",
    "limit",
    "measured_on",
    "macs",
)  # of one page's part
DENSE, CONTROL, BY_CHANCE = "the dense network", "random", "random samples"
SHAPE = "l1 norm's shape from scratch"
ABOUT = (
    "One trained network, and what every score, method and rule of selection leaves of it. All have as "
    "many epochs of training: a score removes at once and is tuned for all of them; a method that trains "
    "before or while it removes has fewer left, or none. Mean and standard deviation over the seeds, "
    "which choose calibration samples, new weights and the training; the last column but one is the "
    "difference from the control of the same seed: random channels for scores and methods, random samples "
    "for rules. From scratch: the same shape with new weights, for as many epochs. A score is taken "
    "alone, the same share of every layer, nothing compensated; `one-shot` is the default of `prunus "
    "prune`. Methods that find their own size say under which share of the MACs they stopped; where that "
    "was more than the budget, the channels that they hold worth least went too."
)
TITLES = {
    "control": "Controls",
    "score": "Scores, alone",
    "method": "Methods",
    "samples": "Samples of the tuning chosen by a rule, after the l1 norm",
}


def table(result: Row) -> str:
    """One section per recipe, in it one table per kind, the best first."""
    return page("Every method", result["rows"], ABOUT, lambda: _sections(result["rows"]), _name)


def _name(row: Row) -> str:
    return f"{row['network']} {row['macs']:.0%}, {row['way']}, seed {row['seed']}"


def _of(row: Row, names: tuple[str, ...] = KIND) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _sections(everything: list[Row]) -> list[str]:
    lines: list[str] = []
    for recipe in sorted({_of(row) for row in everything}, key=str):
        rows = [row for row in everything if _of(row) == recipe]
        called, network, weights, epochs, lr, train, limit, measured_on, macs = recipe
        some = f" of {train:,} samples" if train else ""
        few = f", {limit:,} samples of each part" if limit else ""
        lines += [
            *([""] if lines else []),
            (
                f"## {called}, {network}, {macs:.0%} of its MACs, {epochs} epochs{some}, {measured_on}"
                f" accuracy{few}"
            ),
            "",
            (
                f"Before ({weights}): {rows[0]['accuracy']['dense']:.2f}, of {rows[0]['samples']:,} samples; "
                f"peak learning rate {lr:g}."
            ),
        ]
        for kind, title in TITLES.items():
            lines += _table(title, [row for row in rows if row["kind"] == kind], rows)
    return lines


def _table(title: str, rows: list[Row], everything: list[Row]) -> list[str]:
    if not rows:
        return []
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["way"], []).append(row)
    best = sorted(groups.values(), key=lambda some: -mean(tuned(row) for row in some))
    return [
        "",
        f"### {title}",
        "",
        (
            "| | MACs left | by itself | parameters | epochs before it is small | samples seen | one shot |"
            " after all epochs | minus control | seeds |"
        ),
        "|---" * 10 + "|",
        *(_line(some, everything) for some in best),
    ]


def _line(some: list[Row], rows: list[Row]) -> str:
    alone = [row["alone"] for row in some if row["alone"] is not None]
    first = some[0]
    cells = [
        first["way"],
        f"{mean(row['macs_left'] for row in some):.1%}",
        f"{mean(alone):.1%}" if alone else "",
        f"{mean(row['params'] for row in some):,.0f}",
        str(first["spent"]),
        f"{mean(row['samples_seen'] for row in some):.1f}",
        spread(before(some)),
        spread([tuned(row) for row in some]),
        spread(apart(some, rows), "{:+.2f}"),
        str(len(some)),
    ]
    return "| " + " | ".join(cells) + " |"


def before(some: list[Row]) -> list[float]:
    """Accuracies before tuning, where there is any."""
    return [row["accuracy"]["before tuning"] for row in some if "before tuning" in row["accuracy"]]


def tuned(row: Row) -> float:
    """Accuracy after all epochs."""
    accuracy: float = row["accuracy"]["tuned"]
    return accuracy


def apart(some: list[Row], rows: list[Row]) -> list[float]:
    """Differences from the control of the same seed; none of the control itself."""
    control = BY_CHANCE if some[0]["kind"] == "samples" else CONTROL
    if some[0]["way"] == control:
        return []
    controls = {row["seed"]: tuned(row) for row in rows if row["way"] == control}
    return [tuned(row) - controls[row["seed"]] for row in some if row["seed"] in controls]


def listed(result: Row) -> Row:
    """What `prunus methods` shows: of the recipe with the most rows on test samples, one entry per name."""
    rows = [row for row in result["rows"] if row["measured_on"] == "test" and not row["limit"]]
    if not rows:
        return {}
    recipes = [_of(row) for row in rows]
    recipe = max(dict.fromkeys(recipes), key=recipes.count)
    rows = [row for row in rows if _of(row) == recipe]
    about = dict(zip(KIND, recipe))
    named: dict[str, dict[str, Row]] = {"scores": {}, "methods": {}}
    for row in rows:
        if row["listed"]:
            of = named["scores" if row["kind"] == "score" else "methods"]
            of.setdefault(row["listed"], _figures([one for one in rows if one["way"] == row["way"]]))
    controls = {
        name: _figures([row for row in rows if row["way"] == name])
        for name in (DENSE, CONTROL, SHAPE, BY_CHANCE)
        if any(row["way"] == name for row in rows)
    }
    return {
        "network": about["network"],
        "data": about["called"],
        "macs": about["macs"],
        "epochs": about["epochs"],
        "train": about["train"],
        "before": rows[0]["accuracy"]["dense"],
        "controls": controls,
        **named,
    }


def _figures(some: list[Row]) -> Row:
    first, after = before(some), [tuned(row) for row in some]
    return {
        "one_shot": round(mean(first), 2) if first else None,
        "tuned": round(mean(after), 2),
        "deviation": round(stdev(after), 2) if len(after) > 1 else None,
        "seeds": len(some),
        "macs_left": round(mean(row["macs_left"] for row in some), 3),
    }
