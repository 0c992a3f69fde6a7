"""The results of `benchmarks.latency_tuned` as a Markdown table."""

from __future__ import annotations

from benchmarks.rows import Row, page, spread

PLAN, BY_NORMS = "latency, measured losses", "latency"
MEASURED, AS_IT_IS = "MACs, measured losses", "refitted"
KIND = ("called", "network", "weights", "epochs", "lr", "share")  # of one table
ABOUT = """Plans for a share of the dense network's latency (ONNX Runtime, one thread, batch 1), and the
largest budgets of MACs that are as quick as the first, measured in turns. All are refitted, and then tuned
equally, with several seeds: mean and standard deviation. The last column but one is what the first plan is
better by, with the same seed. Channels are ranked by l2 norms; how much goes of which layer is chosen by
measured losses where a row says so, and by norms that are compared between layers where not."""


def table(result: Row) -> str:
    """One table per network and share."""
    rows = result["rows"]
    return page("Latency plans judged by accuracy", rows, ABOUT, lambda: _sections(rows), _name)


def _name(row: Row) -> str:
    return f"{row['network']} {row['share']:.0%}, {row['way']}, {row['training']}, seed {row['seed']}"


def _of(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in KIND)


def _sections(everything: list[Row]) -> list[str]:
    lines: list[str] = []
    for kind in dict.fromkeys(map(_of, everything)):
        rows = [row for row in everything if _of(row) == kind]
        first = rows[0]
        begun = f", {first['epochs']} epochs at {first['lr']:g}" if first["epochs"] else ""
        lines += [
            *([""] if lines else []),
            f"## {first['called']}, {first['network']}, {first['share']:.0%} of its latency",
            "",
            (
                f"The dense network ({first['weights'] or 'from scratch'}{begun}) has"
                f" {first['accuracy']['dense']:.2f}, of {first['samples']:,} test samples, in"
                f" {first['dense_ms']:.2f} ms."
            ),
            "",
            (
                "| budget | training | time | MACs left | parameters | score lost | accuracy |"
                " the plan is better by | seeds |"
            ),
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for training in dict.fromkeys(row["training"] for row in rows):
            alike = [row for row in rows if row["training"] == training]
            for way in dict.fromkeys(row["way"] for row in alike):
                lines.append(_line([row for row in alike if row["way"] == way], alike))
    return lines


def _line(some: list[Row], alike: list[Row]) -> str:
    first = some[0]
    plans = {row["seed"]: _after(row) for row in alike if row["way"] == PLAN}
    apart = [plans[row["seed"]] - _after(row) for row in some if row["seed"] in plans]
    cells = [
        first["way"],
        first["training"],
        f"{first['latency']:.1%}",
        f"{first['macs']:.1%}",
        f"{first['params']:.1%}",
        f"{first['lost']:.1%}",
        spread([_after(row) for row in some]),
        "" if first["way"] == PLAN or not apart else spread(apart, "{:+.2f}"),
        str(len(some)),
    ]
    return "| " + " | ".join(cells) + " |"


def _after(row: Row) -> float:
    return float(row["accuracy"]["after"])
