"""The results of `benchmarks.coding` as a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import mean

from benchmarks.rows import Row, page, spread

AFTER, PEER, TRAINED, PAPER = "after training", "NNCodec", "trained", "paper"
GRIDS = "two grids in turn"
ONE_GRID = "one grid"
ABOUT = (
    "How few bytes a network takes in one self-contained file, and what it loses by that. Metrics are those "
    "of the network that the file decodes to, on samples that nothing was chosen by, with the mean and "
    "standard deviation over the seeds. Against ideal: the integers in the file, tables included, beside "
    "what an ideal static code of them takes without its tables.\n\n"
    "After the training: public weights on grids, for a given error of the outputs of every layer (the "
    "calibration samples are drawn anew for every seed); the divergence is the mean Kullback-Leibler "
    "divergence of the class probabilities from those of the float network, on the samples that are reported "
    "on. The tables at equal divergence interpolate bytes between neighbouring points, the logarithm of one "
    "linear in that of the other, and never beyond the points; of NNCodec each of the settings has a curve "
    "of its own, and what counts is the one with the fewest bytes. It codes the same float weights with "
    "norms folded or beside them, and gets for nothing what is constant in them. Its tools that look at data "
    "(inference-based QPs, tuned scaling) are left out."
)
Point = tuple[float, float]  # divergence, bytes


def table(result: Row) -> str:
    """One section per network of what comes after the training, and one for what is trained."""
    return page("Coded files", result["rows"], ABOUT, lambda: _sections(result["rows"]), _name)


def bytes_at(divergence: float, points: Iterable[Point]) -> float | None:
    """Interpolated between neighbours, both in logarithms; None beyond the points."""
    ordered = sorted((d, size) for d, size in points if d > 0)
    for (left, first), (right, last) in pairwise(ordered):
        if left <= divergence <= right:
            share = 0.0 if left == right else math.log(divergence / left) / math.log(right / left)
            return math.exp((1 - share) * math.log(first) + share * math.log(last))
    return None


def fewest(divergence: float, curves: Mapping[str, Sequence[Point]]) -> tuple[str, float] | None:
    """Which of some curves has the fewest bytes at a divergence, and how many; None if none reaches it."""
    found = {name: size for name, points in curves.items() if (size := bytes_at(divergence, points))}
    return min(found.items(), key=lambda pair: pair[1], default=None)


def _name(row: Row) -> str:
    seed = "" if row["seed"] is None else f", seed {row['seed']}"
    return f"{row['network']}, {row['kind']}, {row['way']}, {row['setting']:g}{seed}"


def _sections(rows: list[Row]) -> list[str]:
    lines: list[str] = []
    after = [row for row in rows if row["kind"] in (AFTER, PEER)]
    for called, network in sorted({(row["called"], row["network"]) for row in after}):
        some = [row for row in after if (row["called"], row["network"]) == (called, network)]
        lines += [*([""] if lines else []), *_after(called, network, some)]
    for called, network in sorted(
        {(row["called"], row["network"]) for row in rows if row["kind"] in (TRAINED, PAPER)}
    ):
        some = [
            row
            for row in rows
            if row["kind"] in (TRAINED, PAPER) and (row["called"], row["network"]) == (called, network)
        ]
        lines += [*([""] if lines else []), *_trained(called, network, some)]
    return lines


def _after(called: str, network: str, rows: list[Row]) -> list[str]:
    first = rows[0]
    lines = [
        f"## After the training: {called}, {network}",
        "",
        f"{first.get('dense', first['parameters']):,} parameters; {_before(rows)} before.",
        "",
        "| way | error or QP | bytes | bits per parameter | points | divergence | against ideal | "
        "decoded [M/s, MB] | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_after_line(some) for some in _grouped(rows)]
    return lines + _equal(rows)


def _before(rows: list[Row]) -> str:
    """The metric of the float network; of several trainings where every seed has one."""
    first = rows[0]
    if "metric" not in first:
        return f"{first['accuracy']['before']:.2f} % of {first['samples']:,} samples"
    of_seed = {row["seed"]: row["accuracy"]["before"] for row in rows if row["way"] == GRIDS}
    return (
        f"{first['metric']} of {spread(list(of_seed.values()))} % on {first['samples']} pictures of each fold"
    )


def _after_line(some: list[Row]) -> str:
    size = mean(row["bytes"] for row in some)
    way = some[0]["way"] if some[0]["kind"] == AFTER else f"NNCodec, {some[0]['way']}"
    cells = [
        way,
        f"{some[0]['setting']:g}",
        f"{size:,.0f}",
        f"{8 * size / some[0]['parameters']:.2f}",
        spread([_points(row) for row in some], "{:+.2f}"),
        f"{mean(row['divergence'] for row in some):.4f}" if "divergence" in some[0] else "",
        _ideal(some),
        _decoding(some),
        str(len(some)),
    ]
    return "| " + " | ".join(cells) + " |"


def _equal(rows: list[Row]) -> list[str]:
    """What ways and the peer take at the divergence of each error of the grids."""
    ours = [some for some in _grouped(rows) if some[0]["kind"] == AFTER and some[0]["way"] == GRIDS]
    ways = list(dict.fromkeys(row["way"] for row in rows if row["kind"] == AFTER and row["way"] != GRIDS))
    peers = list(dict.fromkeys(row["way"] for row in rows if row["kind"] == PEER))
    if not ours or not (ways or peers) or "divergence" not in rows[0]:
        return []
    heads = ["divergence", GRIDS, *ways, *(["NNCodec", "its settings", "fewer by"] if peers else [])]
    lines = ["", "At equal divergence [bytes]:", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for some in ours:
        at, size = mean(row["divergence"] for row in some), mean(row["bytes"] for row in some)
        found = [bytes_at(at, _curve(rows, AFTER, way)) for way in ways]
        cells = [f"{at:.4f}", f"{size:,.0f}", *("" if one is None else f"{one:,.0f}" for one in found)]
        if peers:
            best = fewest(at, {way: _curve(rows, PEER, way) for way in peers})
            cells += (
                ["", "", ""] if best is None else [f"{best[1]:,.0f}", best[0], f"{1 - size / best[1]:.1%}"]
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _curve(rows: list[Row], kind: str, way: str) -> list[Point]:
    """Divergence and bytes of a way, by what it was set to; the mean of the seeds."""
    groups = _grouped([row for row in rows if (row["kind"], row["way"]) == (kind, way)])
    return [(mean(row["divergence"] for row in some), mean(row["bytes"] for row in some)) for some in groups]


def _trained(called: str, network: str, rows: list[Row]) -> list[str]:
    lines = [
        f"## Trained: {called}, {network}",
        "",
        f"Errors in percent of {rows[0]['samples']:,} samples: of the float network, of the float network "
        "trained on for as many epochs as the grids, and of the decoded one. Times smaller: than four bytes "
        "for each of its parameters.",
        "",
        "| way | rate | bytes | times smaller | error before | trained on | error | against ideal | "
        "decoded [M/s, MB] | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for some in _grouped(rows):
        cells = [
            some[0]["way"],
            f"{some[0]['setting']:g}" if some[0]["setting"] else "",
            spread([row["bytes"] for row in some], "{:,.0f}"),
            f"{4 * mean(row['dense'] / row['bytes'] for row in some):.0f}",
            *(_errors(some, network) for network in ("before", "control", "after")),
            _ideal(some),
            _decoding(some),
            str(len(some)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _errors(some: list[Row], network: str) -> str:
    found = [100 - row["accuracy"][network] for row in some if network in row["accuracy"]]
    return spread(found) if found else ""


def _grouped(rows: list[Row]) -> list[list[Row]]:
    """Rows that differ in their seed alone, in the order of kind, way and setting."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["way"], row["setting"]), []).append(row)
    order = [AFTER, PEER, PAPER, TRAINED]
    return [
        groups[key]
        for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1] != GRIDS, key[1], key[2]))
    ]


def _points(row: Row) -> float:
    accuracy: dict[str, float] = row["accuracy"]
    return accuracy["after"] - accuracy["before"]


def _ideal(some: list[Row]) -> str:
    found = [
        row["stages"]["coded"] / row["stages"]["ideal static code"] - 1 for row in some if "stages" in row
    ]
    return f"{mean(found):+.1%}" if found else ""


def _decoding(some: list[Row]) -> str:
    found = [row["decoding"] for row in some if "decoding" in row]
    if not found:
        return ""
    return f"{mean(one['speed'] for one in found):.1f}, {mean(one['memory'] for one in found) / 1e6:.1f}"
