"""The frontier of accuracy over training time: every way to save time beside the same network on a shortened
schedule, each at its own best peak rate.

    python -m benchmarks.frontier --data DIR --set fashion-mnist --network lenet5 --epochs 20 --validation
        --rates 0.02 0.05 0.1 --seeds 1
    python -m benchmarks.frontier --data DIR --set fashion-mnist --network lenet5 --epochs 20 --seeds 5

A budget is a share of what the full schedule costs: samples times MACs, over all epochs. Each way trains for
as many epochs as its budget has room for; how many samples a rule keeps is not known before, so that its
first training with --validation corrects the number of epochs.

With --validation a tenth of the training samples is held out, and accuracies are those on it: every way
and budget is trained at the rates given, and at further ones as long as the best of them is the lowest or
the highest. Without, each is trained at the rate that was best there (at its budget, or at the nearest one
that was tried), on all training samples, and accuracies are those of the last epoch on all test samples. A
row is written as soon as it is there; a training that was broken off goes on at the epoch where it was, and
rows that exist are not measured again. Times are of the process, on one thread; --untimed leaves them out,
for a machine that is shared.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks import frontier_pictures
from benchmarks.environment import RESULTS
from benchmarks.frontier_table import KIND, best_rate, length, table
from benchmarks.frontier_training import Subject, measured
from benchmarks.frontier_variants import INGREDIENTS, RANDOM, VARIANTS
from benchmarks.recipe import add_compile, checked_options
from benchmarks.rows import Row, add, kept, measured_before, record
from prunus import data
from prunus.errors import ConfigError
from prunus.runs.loading import usual_augmentation
from prunus.tasks import Task

RESULT = RESULTS / "frontier.json"
PICTURES = "pictures"  # with masks, in a folder
SETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", PICTURES: "EM membranes"}
MAIN = [name for name in VARIANTS if name not in INGREDIENTS]
FURTHER = 3  # rates beyond those given, at most


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    result = kept(RESULT)
    if not options.table:
        subject = made(options)
        names = [name for name in VARIANTS if any(fnmatch.fnmatch(name, one) for one in options.only)]
        for budget, name in product(options.budgets, names):
            if name == RANDOM and budget >= 1:
                continue  # all samples, in as many epochs: the full schedule
            if options.data_set == PICTURES and VARIANTS[name].choose is not None:
                continue  # windows are drawn anew in every epoch, so that none has a last loss
            if options.validation:
                choose_rate(result, subject, name, budget, options)
            else:
                decide(result, subject, name, budget, options)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of the data")
    parser.add_argument("--set", choices=SETS, default="fashion-mnist", dest="data_set")
    parser.add_argument(
        "--called", help="what the tables call the data, for files that are not the originals"
    )
    parser.add_argument("--network", default="lenet5")
    parser.add_argument("--epochs", type=int, default=20, help="of the full schedule")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.25, 0.35, 0.5, 0.7, 1.0])
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.02, 0.05, 0.1], help="to begin with")
    parser.add_argument(
        "--only", nargs="+", default=MAIN, help="ways to run, with wildcards; 'with *' are the parts of fast"
    )
    parser.add_argument("--augment", help="in place of what is usual for the data")
    parser.add_argument(
        "--validation", action="store_true", help="find the rates, on a tenth of the training samples"
    )
    parser.add_argument("--untimed", action="store_true", help="keep no times: the machine is overcrowded")
    add_compile(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = checked_options(parser)
    options.called = options.called or SETS[options.data_set]
    return options


def made(options: argparse.Namespace) -> Subject:
    """What is trained and measured on."""
    if options.data_set == PICTURES:
        options.network, options.augment = frontier_pictures.NETWORK, frontier_pictures.AUGMENT
        return frontier_pictures.picture_subject(options.data, options.epochs, options.validation)
    images = data.load(options.data_set, options.data)
    options.augment = options.augment or usual_augmentation(images)
    train, measuring = images.hold_out(0.1) if options.validation else (images.train, images.test)
    task = Task(train, test=measuring, normalise=images.normalise)
    shape = images.image_shape
    return Subject(task, options.network, options.augment, shape, options.epochs, options.compile)


def key_of(options: argparse.Namespace, name: str, budget: float) -> Row:
    """What trainings at all rates and with all seeds have in common."""
    kind = {key: getattr(options, key) for key in KIND}
    return kind | {"variant": name, "budget": budget}


def choose_rate(result: Row, subject: Subject, name: str, budget: float, options: argparse.Namespace) -> None:
    """Try peak rates on held-out samples until the best one lies between others."""
    key = key_of(options, name, budget)

    def tried(rate: float) -> float:
        epochs = fitted(result, key, subject, rate, options)
        found = [run(result, key, subject, rate, epochs, seed, options) for seed in range(options.seeds)]
        return sum(found) / len(found)

    bracketed(tried, [float(f"{rate * VARIANTS[name].scale:.2g}") for rate in options.rates])


def fitted(result: Row, key: Row, subject: Subject, rate: float, options: argparse.Namespace) -> int:
    """The number of epochs that meets the budget, for which a training or two may be needed."""
    for _ in range(2):
        epochs = length(result["rows"], key)
        run(result, key, subject, rate, epochs, 0, options)
        if length(result["rows"], key) == epochs:
            break
    return length(result["rows"], key)


def bracketed(measure: Callable[[float], float], rates: list[float]) -> dict[float, float]:
    """Rates and what they come to, further ones included while the best is the first or the last; rates
    grow by the same factor there as beside it.
    """
    found = {rate: measure(rate) for rate in sorted(rates)}
    for _ in range(FURTHER):
        order = sorted(found)
        best = max(order, key=lambda rate: found[rate])
        if len(order) > 1 and best not in (order[0], order[-1]):
            break
        factor = order[1] / order[0] if len(order) > 1 else 2.0
        rate = best / factor if best == order[0] else best * order[-1] / order[-2]
        rate = float(f"{rate:.2g}")
        found[rate] = measure(rate)
    return found


def decide(result: Row, subject: Subject, name: str, budget: float, options: argparse.Namespace) -> None:
    """Train at the rate that was best on held-out samples, and measure on test samples."""
    key = key_of(options, name, budget)
    rate = best_rate(result["rows"], key)
    if rate is None:
        print(f"{name}, {budget:g}: no rate was tried; run with --validation first", flush=True)
        return
    for seed in range(options.seeds):
        run(result, key, subject, rate, length(result["rows"], key), seed, options)


def run(
    result: Row,
    common: Row,
    subject: Subject,
    rate: float,
    epochs: int,
    seed: int,
    options: argparse.Namespace,
) -> float:
    """The accuracy of one training, which is done unless it has a row."""
    key = common | {
        "trained_epochs": epochs,
        "lr": rate,
        "measured_on": "validation" if options.validation else "test",
        "seed": seed,
    }
    if not measured_before(result, key):
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
        partial = RESULTS / f"frontier-{name}.checkpoint"
        row = key | outcome(subject, key, partial)
        if options.untimed:
            row = {name: value for name, value in row.items() if not name.endswith("seconds")}
        add(RESULT, result, row, record("benchmarks.frontier", "numpy", seed=seed))
        for file in (partial, partial.with_suffix(".seconds")):
            file.unlink(missing_ok=True)
        print(
            f"{key['variant']}, budget {key['budget']:g}, {epochs} epochs at {rate:g}, seed {seed}:"
            f" {row['accuracy']:.2f} % for {row['cost']:.2f}",
            flush=True,
        )
    found = [row for row in result["rows"] if all(row[name] == value for name, value in key.items())]
    accuracy: float = found[0]["accuracy"]
    return accuracy


def outcome(subject: Subject, key: Row, partial: Path) -> dict[str, Any]:
    """What a training comes to; 0 % where its loss was no number any more."""
    try:
        return measured(subject, VARIANTS[key["variant"]], key, partial)
    except ConfigError as error:
        if "The loss became" not in str(error):
            raise
        return {"accuracy": 0.0, "cost": 0.0, "samples": 1.0, "macs_left": 1.0, "diverged": True}


if __name__ == "__main__":
    main()
