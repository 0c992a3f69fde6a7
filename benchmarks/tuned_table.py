"""The results of `benchmarks.tuned` as a Markdown table."""

from __future__ import annotations

from statistics import mean

from benchmarks.rows import Row, page, spread
from benchmarks.tuned_networks import CONTROL, DENSE

KIND = ("called", "network", "weights", "epochs", "lr", "measured_on", "macs")  # of one table
RECIPE = ("tune_epochs", "tune_lr", "optimizer", "rewind", "taught")
ABOUT = (
    "One dense network, small networks made of it in many ways, and the same training after each. From "
    "scratch: the same shape with new weights. The dense network is trained on as long as all others. Mean "
    "and standard deviation over the seeds, which choose calibration samples, new weights, and the order and "
    f"augmentation of the training; the last column is the difference from `{CONTROL}` of the same seed and "
    "training. A training with a teacher has the dense network's logits; one that rewinds replays the "
    "learning rates at the end of a longer one."
)


def table(result: Row) -> str:
    """One table per network and share of MACs, the best tuned way first."""
    return page("After fine-tuning", result["rows"], ABOUT, lambda: _sections(result["rows"]), _name)


def _name(row: Row) -> str:
    return f"{row['network']} {row['macs']:.0%}, {row['way']}, {_recipe(row)}, seed {row['seed']}"


def _recipe(row: Row) -> str:
    told = [f"{row['tune_epochs']} epochs at {row['tune_lr']:g}"]
    told += ["Muon"] if row["optimizer"] == "muon" else []
    told += [f"rewound from {row['rewind']}"] if row["rewind"] else []
    told += ["taught"] if row["taught"] else []
    return ", ".join(told)


def _sections(everything: list[Row]) -> list[str]:
    lines: list[str] = []
    small = [row for row in everything if row["way"] != DENSE]
    for kind in sorted({_of(row, KIND) for row in small}, key=str):
        rows = [row for row in small if _of(row, KIND) == kind]
        whole = [row for row in everything if row["way"] == DENSE and _of(row, KIND[:-1]) == kind[:-1]]
        called, network, weights, epochs, lr, measured_on, macs = kind
        begun = f"from {weights}, " if weights else ""
        lines += [
            *([""] if lines else []),
            f"## {called}, {network}, {macs:.0%} of its MACs left, {measured_on} accuracy",
            "",
            (
                f"The dense network ({begun}{epochs} epochs at {lr:g}) has "
                f"{rows[0]['accuracy']['dense']:.2f}, of {rows[0]['samples']:,} samples."
            ),
            "",
            "| way | training | MACs left | parameters | before | after | minus l1 | seeds |",
            "|---|---|---|---|---|---|---|---|",
            *_lines([*rows, *whole]),
        ]
    return lines


def _lines(rows: list[Row]) -> list[str]:
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["way"], *_of(row, RECIPE)), []).append(row)
    best = sorted(groups.values(), key=lambda some: -mean(_tuned(row) for row in some))
    return [_line(some, rows) for some in best]


def _line(some: list[Row], rows: list[Row]) -> str:
    first = some[0]
    controls = {
        row["seed"]: row for row in rows if row["way"] == CONTROL and _of(row, RECIPE) == _of(first, RECIPE)
    }
    apart = [_tuned(row) - _tuned(controls[row["seed"]]) for row in some if row["seed"] in controls]
    cells = [
        first["way"],
        _recipe(first),
        f"{mean(row['macs_left'] for row in some):.1%}",
        f"{mean(row['params'] for row in some):,.0f}",
        spread([row["accuracy"]["before tuning"] for row in some]),
        spread([_tuned(row) for row in some]),
        "" if first["way"] == CONTROL else spread(apart, "{:+.2f}"),
        str(len(some)),
    ]
    return "| " + " | ".join(cells) + " |"


def _tuned(row: Row) -> float:
    accuracy: float = row["accuracy"]["tuned"]
    return accuracy


def _of(row: Row, names: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(row[name] for name in names)
