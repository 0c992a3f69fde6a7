"""The results of `benchmarks.frontier` as Markdown tables, and what its rows on held-out samples decide."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import mean, stdev

from benchmarks.frontier_variants import CONTROL, VARIANTS
from benchmarks.rows import Row, page, spread

KIND = ("called", "network", "epochs", "augment")  # what the rows of one section have in common
ALIKE = ("called", "network", "augment")  # and the same trainings, whatever their costs are shares of
HEADER = (
    "| variant | peak rate | seeds | epochs | cost | time | accuracy | against the shortened schedule"
    " at equal cost | MACs left |"
)
FAR = 1.25  # a cost that is so many times beyond those of the control has none
ABOUT = """Accuracy over the cost of training, every variant at the peak rate that was best on held-out
samples, those of another full schedule where none were tried for this one. Cost is samples times MACs over
all epochs, of what the full schedule costs; time is that of the process, on one thread, of what the full
schedule took with the same seed. Accuracies are of the last epoch, with their mean and standard deviation
over the seeds. Differences are paired by seed, with their standard error: the shortened schedule is read off
between its own lengths, those of other full schedules included, by the logarithm of the cost."""


def length(rows: Iterable[Row], key: Row) -> int:
    """The number of epochs with which a variant meets its budget: that of the held-out row whose cost is
    nearest, or the number that its cost speaks for and that was not tried. Where none was tried at this
    budget, the cost at the nearest other one speaks, that of another full schedule if need be, and a guess
    where there is none at all.
    """
    rows = list(rows)
    variant, budget = VARIANTS[key["variant"]], key["budget"]
    costs = _costs(rows, key)
    if costs and not variant.whole:
        better = _paid(costs, budget)
        return _closest(costs, budget) if better in costs or len(costs) > 1 else better
    for other in [] if variant.whole else _nearest(rows, key):
        costs = _costs(rows, key | other)
        if costs:
            return _paid(costs, budget * key["epochs"] / other["epochs"])
    return variant.epochs(budget, key["epochs"])


def _costs(rows: Iterable[Row], key: Row) -> dict[int, float]:
    """The costs of held-out trainings by their number of epochs."""
    costs: dict[int, float] = {}
    for row in _like(rows, key):
        if row["measured_on"] == "validation" and row["cost"] > 0:
            costs.setdefault(row["trained_epochs"], row["cost"])  # the first, so that others change nothing
    return costs


def _closest(costs: dict[int, float], budget: float) -> int:
    return min(costs, key=lambda epochs: abs(math.log(costs[epochs] / budget)))


def _paid(costs: dict[int, float], budget: float) -> int:
    """As many epochs as a budget pays for, at what one cost in the training nearest to it."""
    nearest = _closest(costs, budget)
    return max(2, round(nearest * budget / costs[nearest]))


def _nearest(rows: Iterable[Row], key: Row) -> list[Row]:
    """Full schedules and budgets at which something was tried on held-out samples: those of the same full
    schedule first, then by how far their costs are.
    """
    tried = {(row["epochs"], row["budget"]) for row in rows if row["measured_on"] == "validation"}

    def distance(one: tuple[int, float]) -> tuple[bool, float, float]:
        epochs, budget = one
        return (
            epochs != key["epochs"],
            abs(math.log(budget * epochs / (key["budget"] * key["epochs"]))),
            budget,
        )

    return [{"epochs": epochs, "budget": budget} for epochs, budget in sorted(tried, key=distance)]


def best_rate(rows: Iterable[Row], key: Row) -> float | None:
    """The peak rate of the best held-out accuracy, mean over the seeds; where none was tried at this budget,
    that of the nearest one at which some were, of another full schedule if need be, and None where there is
    none.
    """
    rows = list(rows)
    for other in _nearest(rows, key):
        found = rates(rows, key | other)
        if found:
            return max(found, key=lambda rate: found[rate])
    return None


def rates(rows: Iterable[Row], key: Row) -> dict[float, float]:
    """Held-out accuracies by peak rate, ascending."""
    rows = list(rows)
    epochs = length(rows, key)
    tried: dict[float, list[float]] = {}
    for row in _like(rows, key):
        if row["measured_on"] == "validation" and row["trained_epochs"] == epochs:
            tried.setdefault(row["lr"], []).append(row["accuracy"])
    return {rate: mean(tried[rate]) for rate in sorted(tried)}


def table(result: Row) -> str:
    """One section per data set and network, with a table for every budget."""
    rows = result["rows"]
    return page("The frontier of training time", rows, ABOUT, lambda: _sections(rows), _name)


def _name(row: Row) -> str:
    return (
        f"{row['variant']} at {row['budget']:g} ({row['called']}, {row['measured_on']}), seed {row['seed']}"
    )


def _like(rows: Iterable[Row], key: Row) -> list[Row]:
    """Rows of the same trainings, whatever their rate, length and seed."""
    names = (*KIND, "variant", "budget")
    return [row for row in rows if all(row[name] == key[name] for name in names)]


def at_best(rows: Iterable[Row]) -> list[Row]:
    """Rows of test samples at the peak rate that is best on held-out ones and of the length that meets the
    budget; those that further held-out rows overruled are kept in the file alone, unless nothing took their
    place.
    """
    rows = list(rows)
    tested = [row for row in rows if row["measured_on"] == "test"]
    best = [row for row in tested if best_rate(rows, row) in (None, row["lr"])]
    fitting = [row for row in best if row["trained_epochs"] == length(rows, row)]
    return [row for row in best if row in fitting or not _like(fitting, row)]


def converged(rows: Iterable[Row]) -> list[Row]:
    """Rows of trainings whose losses were numbers to the end; the others have no cost."""
    return [row for row in rows if row["cost"] > 0]


def _sections(everything: list[Row]) -> list[str]:
    lines: list[str] = []
    best = at_best(everything)
    for kind in dict.fromkeys(tuple(row[name] for name in KIND) for row in everything):
        rows = [row for row in everything if tuple(row[name] for name in KIND) == kind]
        called, network, epochs, augment = kind
        lines += [
            *([""] if lines else []),
            f"## {called}, {network}, {epochs} epochs, augmentation: {augment}",
        ]
        tested = [row for row in best if row in rows]
        for budget in sorted({row["budget"] for row in tested}):
            lines += ["", f"### Budget {budget:g}", "", HEADER, "|---|---|---|---|---|---|---|---|---|"]
            here = [row for row in tested if row["budget"] == budget]
            names = [name for name in VARIANTS if any(row["variant"] == name for row in here)]
            lines += [_line([row for row in here if row["variant"] == name], best) for name in names]
        lines += _tried(rows)
    return lines


def _line(rows: list[Row], tested: list[Row]) -> str:
    ended = converged(rows) or rows
    lost = f", {len(rows) - len(ended)} of {len(rows)} diverged" if len(ended) < len(rows) else ""
    cells = [
        rows[0]["variant"],
        _each(f"{row['lr']:g}" for row in rows),
        str(len(rows)),
        _each(str(row["trained_epochs"]) for row in rows),
        f"{mean(row['cost'] for row in ended):.2f}",
        spread(times(ended, tested)),
        spread([row["accuracy"] for row in ended]) + lost,
        difference(ended, tested),
        f"{mean(row['macs_left'] for row in ended):.0%}",
    ]
    return "| " + " | ".join(cells) + " |"


def _each(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def times(rows: list[Row], tested: list[Row]) -> list[float]:
    """Seconds, of those of the full schedule with the same seed; rows without times give none."""
    full = {
        row["seed"]: row["seconds"]
        for row in tested
        if row["variant"] == CONTROL and row["budget"] == 1 and "seconds" in row and _same(row, rows[0])
    }
    return [row["seconds"] / full[row["seed"]] for row in rows if "seconds" in row and row["seed"] in full]


def _same(row: Row, other: Row, *names: str) -> bool:
    return all(row[name] == other[name] for name in names or KIND)


def difference(rows: list[Row], tested: list[Row]) -> str:
    """The mean over the seeds of what rows lie above the shortened schedule, and its standard error."""
    found = []
    for row in rows:
        control = {
            one["cost"] * one["epochs"] / row["epochs"]: one["accuracy"]
            for one in tested
            if one["variant"] == CONTROL and one["seed"] == row["seed"] and _same(one, row, *ALIKE)
        }
        if control and min(control) / FAR <= row["cost"] <= max(control) * FAR:
            found.append(row["accuracy"] - between(control, row["cost"]))
    if not found or rows[0]["variant"] == CONTROL:
        return ""
    error = f" ± {stdev(found) / math.sqrt(len(found)):.2f}" if len(found) > 1 else ""
    return f"{mean(found):+.2f}{error}"


def between(accuracies: dict[float, float], cost: float) -> float:
    """The accuracy at a cost, on straight lines over the logarithm of the cost; that of the nearest cost
    where it lies outside.
    """
    costs = sorted(accuracies)
    if cost <= costs[0] or cost >= costs[-1]:
        return accuracies[costs[0] if cost <= costs[0] else costs[-1]]
    above = next(one for one in costs if one >= cost)
    below = max(one for one in costs if one < above)
    part = math.log(cost / below) / math.log(above / below)
    return (1 - part) * accuracies[below] + part * accuracies[above]


def _tried(rows: list[Row]) -> list[str]:
    """The rates that were tried."""
    held = [row for row in rows if row["measured_on"] == "validation"]
    if not held:
        return []
    lines = ["", "### Peak rates and their held-out accuracies", "", "| variant | budget | epochs | tried |"]
    lines.append("|---|---|---|---|")
    order = list(VARIANTS)
    places = {(row["budget"], order.index(row["variant"])): row for row in held if row["variant"] in VARIANTS}
    for (budget, number), row in sorted(places.items(), key=lambda one: one[0]):
        found = rates(rows, row)
        best = best_rate(rows, row)
        texts = [
            f"**{rate:g}: {value:.2f}**" if rate == best else f"{rate:g}: {value:.2f}"
            for rate, value in found.items()
        ]
        lines.append(f"| {order[number]} | {budget:g} | {length(rows, row)} | {', '.join(texts)} |")
    return lines
