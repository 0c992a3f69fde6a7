"""The table of the zoo: counts first, then what is not as it should be with its reason,
then every network.
"""

from __future__ import annotations

import math
from collections import Counter

from benchmarks.rows import Row, page

ROUNDING = 1e-10  # relative, in double precision
SINGLE = 1e-5  # in single precision: memory in another order rounds otherwise
TRAINING = 1e-7  # gradients, in double precision
WITHIN = 1e-3  # ONNX Runtime beside PyTorch, in single precision
SMALL = 0.4  # of the MACs, at half of the channels
SLOW = 10.0  # seconds that compact takes
FIELDS = (
    "pruned",
    "exact",
    "MACs left",
    "float64",
    "other size",
    "train",
    "gradients",
    "file",
    "ONNX",
    "compact s",
)


def table(result: Row) -> str:
    """A page of Markdown."""
    found = sorted(filter(_tried, result["rows"]), key=lambda row: row["name"])
    about = (
        "Half of the channels of every layer, and half of the MACs of the whole network, removed by L2 norm "
        "from networks with random weights. Errors are relative to the largest value; what is empty was not "
        "measured. Rows were measured at the commits that their records name."
    )
    return page(
        "Networks of the packages that users prune with",
        found,
        about,
        lambda: _body({row["name"]: _merged(row) for row in found}),
        lambda row: row["name"],
    )


def _merged(row: Row) -> Row:
    """What all jobs found of a network."""
    return {**row.get("prune", {}), **row.get("train", {}), **row.get("onnx", {})}


def _tried(row: Row) -> bool:
    """Whether a network was there to be tried."""
    found = _merged(row)
    return "channels" in found or any(key.endswith("failed") for key in found)


def _body(rows: dict[str, Row]) -> list[str]:
    lines = [f"* {line}" for line in summary(rows)]
    odd = {name: reasons(row) for name, row in rows.items() if reasons(row)}
    if odd:
        lines += ["", "## Not as it should be", "", "| network | what |", "|---|---|"]
        lines += [f"| {name} | {_cell('; '.join(words), 400)} |" for name, words in odd.items()]
    lines += ["", "## Every network", ""]
    lines += [f"| network | {' | '.join(FIELDS)} |", "|---" * (len(FIELDS) + 1) + "|"]
    return [*lines, *(f"| {name} | {' | '.join(_cells(row))} |" for name, row in rows.items())]


def summary(rows: dict[str, Row]) -> list[str]:
    """The counts that the benchmark is for."""
    good = [row for row in rows.values() if compacted(row)]
    exact = [row for row in good if row["exact"]]
    trained = [row for row in good if isinstance(row.get("train"), float)]
    able = [row for row in rows.values() if "onnx_dense" in row]
    modes = Counter(row["mode"] for row in good)
    lines = [
        (
            f"{len(good)} of {len(rows)} are compact: {modes['eager']} in their own class, {modes['traced']}"
            " as traced graphs"
        ),
        f"{sum(wrong(row) for row in good)} are wrong where the plan says exact ({len(exact)} exact plans)",
        (
            f"{sum(row['macs_left'] <= SMALL for row in good)} of {len(good)} keep at most {SMALL:.0%} of"
            " their MACs at rate 0.5"
        ),
        f"{sum(row['compact_seconds'] > SLOW for row in good)} take more than {SLOW:g} s to compact",
    ]
    if trained:
        same = [row for row in trained if row["exact"] and max(row["train"], row["gradients"]) <= TRAINING]
        lines.append(
            f"{len(same)} of {sum(row['exact'] for row in trained)} exact ones that can be trained have the"
            " same outputs and gradients in train mode"
        )
    if able:
        lines.append(
            f"{sum(row.get('onnx', math.inf) <= WITHIN for row in able)} of {len(able)} that can be exported"
            " dense can be exported pruned"
        )
    return lines


def compacted(row: Row) -> bool:
    """Whether a network became smaller."""
    return "mode" in row and row["removed"] > 0


def wrong(row: Row) -> bool:
    """Whether an exact plan gave another function: in double precision, or in single where the network's own
    code takes no other.
    """
    alike = row["double"] <= ROUNDING if "double" in row else row.get("relative", math.inf) <= SINGLE
    return bool(row.get("exact")) and (
        not alike
        or (isinstance(row.get("larger"), float) and not row["larger"] <= ROUNDING)
        or "larger_failed" in row
        or not row.get("file", 0.0) <= SINGLE
    )


def reasons(row: Row) -> list[str]:
    """What is not as it should be with one network, most serious first."""
    found = ["wrong although exact"] if wrong(row) else []
    found += [
        f"{key.removesuffix('_failed')}: {value}"
        for key, value in row.items()
        if key.endswith("failed") and key != "onnx_dense_failed"
    ]
    if "mode" in row and not row["removed"]:
        found.append(
            "nothing can be removed: " + "; ".join(f"{p[1]} ({p[2]}, {p[3]})" for p in row["pinned"][:2])
        )
    elif row.get("macs_left", 0.0) > SMALL:
        found.append(
            f"{row['macs_left']:.0%} of the MACs are left: "
            + "; ".join(f"{p[1]} ({p[2]}, {p[3]})" for p in row["pinned"][:2])
        )
    if (
        row.get("exact")
        and isinstance(row.get("train"), float)
        and not max(row["train"], row["gradients"]) <= TRAINING
    ):
        found.append(
            f"train mode differs: outputs {row['train']:.0e}, gradients {row['gradients']:.0e}"
            f" ({row['gradient_worst']})"
        )
    if row.get("compact_seconds", 0.0) > SLOW:
        found.append(f"compact takes {row['compact_seconds']:.0f} s")
    return found


def _cells(row: Row) -> list[str]:
    values = [
        row.get("mode", "no"),
        "yes" if row.get("exact") else (row.get("notes") or [""])[0],
        row.get("macs_left"),
        row.get("double"),
        row.get("larger", "no" if "larger_failed" in row else ""),
        row.get("train"),
        row.get("gradients"),
        row.get("file"),
        row.get("onnx", "no" if "onnx_failed" in row else "not dense" if "onnx_dense_failed" in row else ""),
        row.get("compact_seconds"),
    ]
    return [_number(value) if isinstance(value, float) else _cell(str(value or ""), 60) for value in values]


def _number(value: float) -> str:
    return f"{value:.0e}" if 0 < value < 1e-3 else f"{value:.2f}" if value else "0"


def _cell(text: str, most: int) -> str:
    text = text.replace("|", "/").replace("\n", " ")
    return text if len(text) <= most else text[: most - 1] + "…"
