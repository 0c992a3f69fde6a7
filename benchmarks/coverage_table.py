"""The coverage results as a Markdown table with its summary."""

from __future__ import annotations

from statistics import median, quantiles

from benchmarks.rows import Row, page

EXACT = {"relative_float32": 1e-5, "relative_float64": 1e-12}
TRAINED = 1e-8  # in double precision; batch norms of few values multiply rounding by much


def table(result: Row) -> str:
    """The summary lines, then one line per model."""
    about = (
        "Random weights and batch-norm statistics; channels ranked by L2 norm, uniformly per layer. The "
        "error is the largest difference between compact and masked model relative to the largest output, "
        "in training of outputs, gradients and statistics; seconds are those of the processor, one thread, "
        "for trace + plan + surgery, first without and then with all checks (medians of three for both "
        "tools, once where it takes over five seconds). \\* marks plans that say themselves that they cannot "
        "be exact."
    )
    rows = [row for row in result["rows"] if "prunus" in row]
    return page(
        "Coverage: half of the channels of every architecture",
        rows,
        about,
        lambda: _models(rows),
        lambda row: row["name"],
    )


def _models(rows: list[Row]) -> list[str]:
    return [
        *[f"* {line}" for line in summary(rows)],
        "",
        (
            "| model | pixels | mode | MACs left | error float32 | error float64 | in training | s | s with"
            " checks | pinned first | Torch-Pruning | its error | its s |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *[_line(row["name"], row) for row in rows],
    ]


def seconds_of(row: Row) -> float:
    """Trace, plan and surgery of prunus with its rehearsal and without its checks, or everything of the peer,
    which checks nothing.
    """
    return sum(
        s for name, s in row["seconds"].items() if name not in ("check", "checked", "cost", "rehearsal")
    )


def summary(rows: list[Row]) -> list[str]:
    """What the whole table says."""
    ours = [row["prunus"] for row in rows]
    fine = [row for row in ours if row["status"] == "ok"]
    exact = [row for row in fine if row["exact"]]
    proven = [row for row in exact if all(row[key] <= limit for key, limit in EXACT.items())]
    trained = [row for row in exact if row["training_float64"] is not None]
    alike = [row for row in trained if row["training_float64"] <= TRAINED]
    deep = [row for row in fine if row["macs_left"] <= 0.4]
    peers = [row["torch_pruning"] for row in rows if "torch_pruning" in row]
    pairs = [(row["prunus"], row["torch_pruning"]) for row in rows if _both(row)]
    both = [(seconds_of(a), seconds_of(b)) for a, b in pairs]
    lines = [
        (
            f"prunus: {len(fine)} of {len(ours)} give a running compact model; {len(exact)} plans are exact,"
            f" and {len(proven)} of these are measured within 1e-5 (float32) and 1e-12 (float64)"
        ),
        (
            f"in train mode, outputs, gradients of what is left and statistics: {len(trained)} of the"
            f" {len(exact)} exact ones are measured, {len(alike)} of these within {TRAINED:.0e} (float64)"
        ),
        f"{len(deep)} of {len(fine)} ({len(deep) / max(len(fine), 1):.0%}) lose 60 % or more of their MACs",
        (
            f"modes: {sum(row['mode'] == 'eager' for row in fine)} eager,"
            f" {sum(row['mode'] == 'traced' for row in fine)} traced"
        ),
    ]
    timed = [row for row in fine if "checked" in row.get("seconds", {})]
    if timed:
        checked = [row["seconds"]["checked"] for row in timed]
        lines.append(
            f"trace + plan + surgery ({len(timed)} timed): median {median(map(seconds_of, timed)):.2f} s, "
            f"slowest {max(map(seconds_of, timed)):.2f} s; "
            f"with all checks median {median(checked):.2f} s, slowest {max(checked):.2f} s; "
            f"a plan's cost: median {1e3 * median(row['seconds']['cost'] for row in timed):.2f} ms"
        )
    if peers:
        runs = [row for row in peers if row["status"] == "ok"]
        close = [row for row in runs if row["relative_float32"] <= EXACT["relative_float32"]]
        lines.append(
            f"Torch-Pruning: {len(runs)} of {len(peers)} run afterwards ({len(close)} of them exact), "
            f"{sum(row['status'] == 'raises' for row in peers)} raise, "
            f"{sum(row['status'] == 'timeout' for row in peers)} do not finish in 60 s"
        )
    if len(both) > 1:
        checked = [a["seconds"]["checked"] for a, _ in pairs]
        unrehearsed = [b / (a - row["seconds"]["rehearsal"]) for (a, b), (row, _) in zip(both, pairs)]
        lines.append(
            f"on the {len(both)} models that both can do, one thread: with all checks, of outputs in eval"
            f" and train mode and of statistics (Torch-Pruning checks nothing), median {median(checked):.2f}"
            f" s against {median(b for _, b in both):.2f} s, Torch-Pruning takes"
            f" {_ratio([b / a for a, (_, b) in zip(checked, both)])} times as long; without checks median"
            f" {median(a for a, _ in both):.2f} s, Torch-Pruning takes {_ratio([b / a for a, b in both])}"
            f" times as long, and {_ratio(unrehearsed)} times without the rehearsal, in which `compact`"
            " follows the model's own forward at its new widths before it is trusted"
        )
    return lines


def _both(row: Row) -> bool:
    """Whether both tools did it and were timed."""
    done = row["prunus"]["status"] == row.get("torch_pruning", {}).get("status") == "ok"
    return done and "checked" in row["prunus"].get("seconds", {})


def _ratio(ratios: list[float]) -> str:
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.1f} (quartiles {low:.1f} and {high:.1f})"


def _seconds(ours: Row) -> list[str]:
    return (
        [f"{seconds_of(ours):.2f}", f"{ours['seconds']['checked']:.2f}"]
        if "checked" in ours.get("seconds", {})
        else ["", ""]
    )


def _line(name: str, row: Row) -> str:
    ours, peer = row["prunus"], row.get("torch_pruning", {"status": "not run"})
    cells = [name, str(row["size"])]
    if ours["status"] == "ok":
        star = "" if ours["exact"] else "\\*"
        pinned = f"{ours['pinned'][0][0]} ({ours['pinned'][0][3]})" if ours["pinned"] else ""
        cells += [
            ours["mode"] + ("" if ours["same_plan"] else ", other plan"), f"{ours['macs_left']:.1%}",
            f"{ours['relative_float32']:.0e}{star}", f"{ours['relative_float64']:.0e}{star}",
            "" if ours["training_float64"] is None else f"{ours['training_float64']:.0e}{star}",
            *_seconds(ours), pinned,
        ]  # fmt: skip
    else:
        cells += [f"**{ours['status']}**", "", "", "", "", "", "", ours.get("message", "")[:80]]
    if peer["status"] == "ok":
        cells += [
            f"ok, {peer['macs_left']:.1%}",
            f"{peer['relative_float32']:.0e}",
            f"{seconds_of(peer):.2f}",
        ]
    else:
        cells += [f"{peer['status']}: {peer.get('message', '')[:60]}", "", ""]
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"
