"""The results of `benchmarks.segmentation` as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.rows import Row, page, spread

METRICS = ("pixel accuracy", "IoU", "Dice")
PARTS = ("validation", "test")
PRUNED = "pruned"


def table(result: Row) -> str:
    """One section per network and set."""
    about = (
        "As small as the validation pictures let: at most 0.32 points of pixel accuracy and 1 point of IoU "
        "(of the foreground) less than the original. On the test pictures nothing was chosen. The control "
        "is the original with as much further training as the small network had, and nothing removed; "
        "beside it stand the class that most training pixels have, everywhere, and networks of the small "
        "shape with new weights, trained for the epochs of the accepted trials, or for those and the first "
        "training together. Of several folds or seeds, each tested on other pictures, means and standard "
        "deviations come first. FLOPs and latency are of one picture of 256 x 256; latency on one thread, "
        "both networks in turns, medians."
    )
    return page(
        "Importance weights on segmentation", result["rows"], about, lambda: _sections(result["rows"]), _name
    )


def _name(row: Row) -> str:
    return (
        f"{row['network']}, width {row['width']}, {row['called']}, trials of {row['trial_epochs']}, seed"
        f" {row['seed']}{_fold(row)}"
    )


def _fold(row: Row) -> str:
    """What a row has beside others of its network and seed."""
    return (f", fold {row['fold']} of {row['folds']}" if row["folds"] else "") + _start(row)


def _start(row: Row) -> str:
    """How the weights begin, where that is not as usual."""
    return f", weights start as {row['start']}" if row["start"] != "ones" else ""


def _sections(rows: list[Row]) -> list[str]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_recipe(row), []).append(row)
    several = {recipe: some for recipe, some in groups.items() if len(some) > 1}
    lines = [*_means(several), *_runs(several)] if several else []
    for some in groups.values():
        if len(some) == 1:
            lines += [*([""] if lines else []), *_section(some[0])]
    return lines


def _means(several: dict[str, list[Row]]) -> list[str]:
    """Recipes of several seeds or folds, beside their controls."""
    lines = [
        "## Over folds and seeds, test pictures",
        "",
        "| | runs | FLOPs removed | IoU | minus pruned |",
        "|---|---|---|---|---|",
    ]
    for recipe, some in several.items():
        lines.append(f"| **{recipe}** | | | | |")
        gone = spread([_gone(row["macs"]) for row in some], "{:.1f}")
        found = [_networks(row) for row in some]
        for name in dict.fromkeys(name for each in found for name in each):
            pairs = [(each[name], row) for each, row in zip(found, some) if name in each]
            values = spread([one["test"]["IoU"] for one, _ in pairs])
            apart = spread(
                [one["test"]["IoU"] - row["after"]["test"]["IoU"] for one, row in pairs], "{:+.2f}"
            )
            ours = name == PRUNED
            lines.append(
                f"| {name} | {len(pairs)} | {f'{gone} %' if ours else ''} | {values} |"
                f" {'' if ours else apart} |"
            )
    return lines


def _runs(several: dict[str, list[Row]]) -> list[str]:
    """The same run by run."""
    lines = [
        "",
        "## Run by run",
        "",
        "| seed, fold | FLOPs removed | parameters | IoU held out, before | after | test, before | after |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe, some in several.items():
        lines.append(f"| **{recipe}** | | | | | | |")
        for row in some:
            values = [f"{row[stage][part]['IoU']:.2f}" for part in PARTS for stage in ("before", "after")]
            fold = f", {row['fold']}" if row["folds"] else ""
            lines.append(
                f"| {row['seed']}{fold} | {_gone(row['macs']):.1f} % | {row['params'][1]:,} |"
                f" {' | '.join(values)} |"
            )
    return lines


def _recipe(row: Row) -> str:
    """Everything but seed and fold, in words."""
    folds = f", {row['folds']} folds" if row["folds"] else ""
    usual = (row["importance"], row["scope"]) == ("weight", "global")
    how = "" if usual else f", {row['importance']}, {row['scope']}"
    return (
        f"{row['network']}, width {row['width']}, {row['called']}, {row['epochs']} epochs, trials of"
        f" {row['trial_epochs']}{how}, widths in multiples of {row['round_to']}{_start(row)}{folds}"
    )


def _networks(row: Row) -> dict[str, Row]:
    """What was measured of the original, the pruned one and their controls, by what they are called."""
    found: dict[str, Row] = {"the original": row["before"], PRUNED: row["after"]}
    control = {"the original, trained on": row["control"]} if "control" in row else {}
    return found | control | row.get("baselines", {})


def _section(row: Row) -> list[str]:
    found = _networks(row)
    lines = [
        f"## {_name(row)}",
        "",
        (
            f"**{_removed(row['macs'])} of the FLOPs and {_removed(row['params'])} of the parameters"
            f" removed.** {_about(row)}"
        ),
        "",
        "| [%] | " + " | ".join(f"{part}, {name}" for part in PARTS for name in METRICS) + " |",
        "|---|" + "---|" * (len(PARTS) * len(METRICS)),
    ]
    for name, figures in found.items():
        values = [f"{figures[part][metric]:.2f}" for part in PARTS for metric in METRICS]
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    return [*lines, "", *_latency(row.get("latency", {})), *_trials(row["trials"])]


def _gone(pair: list[int]) -> float:
    """The share of the first that the second lacks [percent]."""
    return 100 * (1 - pair[1] / pair[0])


def _removed(pair: list[int]) -> str:
    return f"{_gone(pair):.1f}%"


def _about(row: Row) -> str:
    """Sizes, pictures and schedule."""
    training, validation, test = row["pictures"]
    blocks = f", held out in blocks of {row['block']} x {row['block']} tiles" if row["block"] > 1 else ""
    shrunk = f", all {row['shrink']} times smaller than their files" if row["shrink"] > 1 else ""
    rounded = f", widths multiples of {row['round_to']}" if row["round_to"] > 1 else ""
    before, after = (2e-9 * macs for macs in row["macs"])
    minutes = row["seconds"]["training"] / 60, row["seconds"]["trials"] / 60
    return (
        f"{before:.2f} to {after:.2f} GFLOPs, {row['params'][0]:,} to {row['params'][1]:,} parameters."
        f" {training} pictures to train, {validation} to keep the tolerance, {test} to test{shrunk}{blocks};"
        f" {row['epochs']} epochs of {row['count']} windows of {row['size']} x {row['size']}, trials of"
        f" {row['trial_epochs']} with weights and {row['trial_epochs']} without{rounded}; {minutes[0]:.0f} +"
        f" {minutes[1]:.0f} minutes."
    )


def _latency(latency: dict[str, Any]) -> list[str]:
    if not latency:
        return []
    lines = ["| one thread | before | after | times faster |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {one['before_ms']:.1f} ms | {one['after_ms']:.1f} ms | {one['times']:.2f} |"
        for name, one in latency.items()
    ]
    return [*lines, ""]


def _trials(trials: list[Row]) -> list[str]:
    lines = ["| trial | share removed | FLOPs left | pixel accuracy | IoU | |", "|---|---|---|---|---|---|"]
    for number, trial in enumerate(trials, 1):
        cells = [
            f"{trial['step']:.1%}",
            f"{trial['macs_left']:.1%}",
            f"{trial['pixel accuracy']:.2f}",
            f"{trial['IoU']:.2f}",
        ]
        lines.append(
            f"| {number} | " + " | ".join(cells) + f" | {'accepted' if trial['accepted'] else 'rejected'} |"
        )
    return lines
