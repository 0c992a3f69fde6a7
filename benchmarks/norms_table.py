"""The results of `benchmarks.norms` as a Markdown page."""

from __future__ import annotations

from benchmarks.rows import Row, page, spread

RUNTIMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def table(result: Row) -> str:
    """Times first, then accuracies."""
    about = (
        'Half of the channels by L2 norm, compacted with `norms="original"` (layer norms and their like go '
        "on dividing by as many channels as there were, and compute what the masked network computes) and "
        'with `norms="plain"` (the kernel of the library over what is left, which is another function).'
    )
    return page("Norms that keep their width", result["rows"], about, lambda: _body(result["rows"]), _name)


def _name(row: Row) -> str:
    return row["network"] + (f", {row['rate']:.0%}, seed {row['seed']}" if row["what"] == "accuracy" else "")


def _body(rows: list[Row]) -> list[str]:
    return [
        *_times([row for row in rows if row["what"] == "latency"]),
        "",
        *_accuracies([row for row in rows if row["what"] == "accuracy"]),
    ]


def _times(rows: list[Row]) -> list[str]:
    lines = [
        "## Latency",
        "",
        (
            "One image of 224 x 224, one thread, the three in turns: medians with quartiles in ms, and"
            " medians of the ratios of each round."
        ),
        "",
        "| network | runtime | dense | original | plain | dense / original | plain / original |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for key, name in RUNTIMES.items():
            cells = ["{} ({} to {})".format(*row[key]["ms"][kind]) for kind in ("dense", "original", "plain")]
            ratios = [f"{row[key]['over_original'][kind]:.2f}" for kind in ("dense", "plain")]
            lines.append(f"| {row['network']} | {name} | {' | '.join(cells + ratios)} |")
    return lines


def _accuracies(rows: list[Row]) -> list[str]:
    lines = [
        "## Accuracy",
        "",
        (
            "Small networks of the two families, trained from scratch on CIFAR-10 (JPEG); test samples, mean"
            " ± sd over the seeds. The"
        ),
        "control is the dense network, trained on for the same epoch. Nothing is chosen on these samples.",
        "",
        (
            "| network | removed | seeds | dense | original, at once | plain, at once | dense, trained on |"
            " original, trained on | plain, trained on |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for network, rate in dict.fromkeys((row["network"], row["rate"]) for row in rows):
        found = [row for row in rows if (row["network"], row["rate"]) == (network, rate)]
        cells = [
            spread([row[kind][when] for row in found])
            for when in ("at_once", "trained_on")
            for kind in ("dense", "original", "plain")
        ]
        lines.append(f"| {network} | {rate:.0%} | {len(found)} | {' | '.join(cells)} |")
    return lines
