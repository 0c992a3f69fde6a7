"""The table of `benchmarks.int8`: a line for each recipe over its seeds, then a section for each row."""

from __future__ import annotations

from benchmarks.rows import Row, page, spread
from benchmarks.stage_controls import ALONE, LONGER, TAUGHT

BEFORE, AFTER = "dense float32", "pruned int8"
CONTROLS = ((LONGER, "float32"), (TAUGHT, "int8"), (ALONE, "int8"))
ABOUT = (
    "Public weights, fine-tuned on the files at hand. Channels go by reconstruction error, with refitting; "
    "blocks, one by one, where the loss rises least. The dense network teaches what is left. Batch-norm "
    "statistics, blocks and layers in float are chosen on one part of the samples, accuracies are of "
    "another; sizes of ONNX files; latency of one image on one thread of ONNX Runtime, files in turns.\n\n"
    "Pruned, in 8 bits, against the dense network in float: points of accuracy on the samples that choices "
    "were made on and on those that were kept for this, how many times smaller the file, how many times "
    "faster; mean and standard deviation over seeds. Behind that, the points by which it is above its "
    "controls with the same seed: the dense network in float, trained on for as many epochs, taught by "
    "itself, and, in 8 bits as well, its own shape with new weights, taught by the dense network for the "
    "epochs of tuning, or without a teacher for all epochs."
)


def table(result: Row) -> str:
    """Recipes first, then one section per row, one line per file."""
    return page("Pruned and quantised", result["rows"], ABOUT, lambda: _sections(result["rows"]), _name)


def _name(row: Row) -> str:
    return (
        f"{_what(row)}, {_epochs(row)} epochs, decay {row['stage_decay']:g}, {row['device']}, seed"
        f" {row['seed']}"
    )


def _sections(rows: list[Row]) -> list[str]:
    lines = [
        (
            "| network | left out | epochs | weight decay | trained on | seeds | where chosen | accuracy |"
            " smaller | faster | minus dense trained as long | minus from scratch, taught | minus from"
            " scratch, all epochs |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    recipes: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        recipes.setdefault(_recipe(row), []).append(row)
    lines += [_line(recipe, seeds) for recipe, seeds in recipes.items()]
    for row in rows:
        lines += ["", *_section(row)]
    return lines


def _recipe(row: Row) -> tuple[str, ...]:
    """How the network was pruned and trained, in words: everything but the seed."""
    what = f"{row['called']}, {row['network']}, {row['epochs']} epochs"
    return what, _what(row), _epochs(row), f"{row['stage_decay']:g}", row["device"]


def _line(recipe: tuple[str, ...], rows: list[Row]) -> str:
    files = [(row["networks"][BEFORE], row["networks"][AFTER]) for row in rows]
    chosen, measured = (
        spread([small[name] - dense[name] for dense, small in files if name in dense], "{:+.2f}")
        for name in ("choosing_accuracy", "accuracy")
    )
    smaller = spread([dense["bytes"] / small["bytes"] for dense, small in files])
    faster = spread([row["latency"]["ONNX Runtime"][AFTER]["speedup"] for row in rows if "latency" in row])
    above = [_above(rows, *control) for control in CONTROLS]
    return "| " + " | ".join([*recipe, str(len(rows)), chosen, measured, smaller, faster, *above]) + " |"


def _above(rows: list[Row], control: str, kind: str) -> str:
    """Points above a control."""
    return spread(
        [
            row["networks"][AFTER]["accuracy"] - row["controls"][control][kind]["accuracy"]
            for row in rows
            if "controls" in row
        ],
        "{:+.2f}",
    )


def _section(row: Row) -> list[str]:
    dense, times = row["networks"][BEFORE], row.get("latency", {}).get("ONNX Runtime", {})
    lines = [
        f"## {row['called']}, {row['network']} ({row['weights']}): {_what(row)}",
        "",
        f"Epochs of fine-tuning: {row['epochs']}, after pruning: {_epochs(row)}, weight decay"
        f" {row['stage_decay']:g}, trained on {row['device']}, seed {row['seed']}; chosen on"
        f" {row['samples'][0]:,} samples, measured on {row['samples'][1]:,}."
        + (f" {row['about']}" if "about" in row else ""),
        "",
        (
            "| file | accuracy | against dense | MACs | parameters | bytes | smaller | layers in float | p50"
            " [ms] | faster |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in (row["networks"] | _controls(row)).items():
        timed = times.get(name)
        speed = f"{timed['median_ms']:.2f} | {timed['speedup']:.2f} |" if timed else " | |"
        in_float = f"{len(one['kept_float'])}" if "kept_float" in one else "all"
        lines.append(
            f"| {name} | {one['accuracy']:.2f} | {one['accuracy'] - dense['accuracy']:+.2f} |"
            f" {one['macs'] / dense['macs']:.0%} | {one['params'] / dense['params']:.0%} | {one['bytes']:,} |"
            f" {dense['bytes'] / one['bytes']:.2f} | {in_float} | {speed}"
        )
    if times:
        eager = row["latency"]["PyTorch"]["dense float32"]["median_ms"]
        lines += [
            "",
            (
                f"The dense network in PyTorch takes {eager:.2f} ms, {eager / times[AFTER]['median_ms']:.1f}"
                " times the last."
            ),
        ]
    return lines


def _controls(row: Row) -> dict[str, Row]:
    """Files of the controls by what they are called."""
    return {
        f"control: {title}, {kind}": one
        for title, files in row.get("controls", {}).items()
        for kind, one in files.items()
    }


def _epochs(row: Row) -> str:
    return f"{row['stage_epochs']}" + (f" and {row['again_epochs']}" if row["again_epochs"] else "")


def _what(row: Row) -> str:
    if row["target"] == "blocks":
        return f"{row['value']:g} residual blocks left out" + (", evenly" if row["evenly"] else "")
    return f"{row['target']} {row['value']:g}, {row['scope']}, widths in multiples of {row['round_to']}"
