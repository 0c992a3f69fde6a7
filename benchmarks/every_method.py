"""Every method, score and rule of selection that has a name, on one trained network, at one share of its MACs
and with one number of training epochs in all; and their controls.

    python -m benchmarks.every_method --data DIR --weights FILE --models DIR [--network resnet20] [--macs 0.5]
        [--epochs 4] [--lr 0.05] [--train 12800] [--seeds 3] [--only PATTERN ...] [--threads 1]

The trained network is one for all rows, public weights as they are. A score removes channels at once, and
what is left is tuned for all epochs; a method that trains before it removes, or while it does, spends some or
all of the epochs on that, and what is left of them on tuning; a rule of selection chooses the samples of the
tuning of what the l1 norm left. Seeds choose calibration samples, new weights, and the order and augmentation
of trainings. Gates learn, and batch norms are judged, on a tenth of the training samples that is not trained
on; accuracies are of all test samples, by which nothing is chosen (--choosing: of that tenth, to find
strengths by).

A row is written as soon as it is there, rows that exist are not measured again, and a training that was
broken off goes on; only the first part of methods that keep no checkpoint (adversarial, importance,
play-and-prune) begins anew. --train takes a part of the training samples for all rows: an epoch of all 45,000
takes some five minutes of a slow core. --limit takes the first so many samples of each part, to try all this.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import torch
from torch import nn

from benchmarks.environment import RESULTS, save
from benchmarks.every_method_course import Begun, Course, Way
from benchmarks.every_method_table import listed, table
from benchmarks.every_method_ways import CLASSES, WAYS
from benchmarks.methods_subjects import IMAGENET
from benchmarks.rows import Row, add, kept, measured_before, record
from benchmarks.stages import Material
from benchmarks.tuned_networks import Lesson, cost
from prunus import data, models, storage
from prunus.data import Split
from prunus.models import load_weights
from prunus.runs.listing import MEASURED
from prunus.tasks import Task
from prunus.training import evaluate
from prunus.training.progress import EpochRecord

RESULT = RESULTS / "every_method.json"
LEAST = 3  # epochs: a history, a pull and a retraining


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    if not options.table:
        measure(options, kept(options.result))
    result = kept(options.result)
    options.result.with_suffix(".md").write_text(table(result))
    if options.result == RESULT:
        save(MEASURED, listed(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument("--called", default="CIFAR-10", help="what the tables call the data")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--weights", type=Path, help="of the trained network")
    parser.add_argument("--models", type=Path, help="folder for what is not finished")
    parser.add_argument("--macs", type=float, nargs="+", default=[0.5], help="shares that are left")
    parser.add_argument("--epochs", type=int, default=4, help="of every way, in all")
    parser.add_argument("--lr", type=float, default=0.05, help="peak learning rate of all trainings")
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0")
    parser.add_argument("--only", nargs="+", default=["*"], help="ways to run, with wildcards")
    parser.add_argument("--choosing", action="store_true", help="measure on the samples for choices")
    parser.add_argument("--train", type=int, default=0, help="training samples of an epoch, drawn (0: all)")
    parser.add_argument("--limit", type=int, default=0, help="samples of each part (0: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--result", type=Path, default=RESULT, help="file of the rows")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = parser.parse_args()
    if options.epochs < LEAST:
        raise SystemExit(f"Methods of several trainings need at least {LEAST} epochs, not {options.epochs}.")
    return options


def measure(options: argparse.Namespace, result: Row) -> None:
    """All rows that are not there yet, seed by seed."""
    about = material(options)
    dense = models.build(options.network, num_classes=CLASSES)
    load_weights(dense, options.weights)
    before = accuracy(dense.eval(), about, options)
    for seed, macs, name in product(range(options.seeds), options.macs, WAYS):
        if not any(fnmatch.fnmatch(name, pattern) for pattern in options.only):
            continue
        key = key_of(options) | {"macs": macs, "way": name, "seed": seed}
        if measured_before(result, key):
            continue
        course = course_of(options, Lesson(dense, about, macs, seed), name)
        row = key | measured(options, course, WAYS[name])
        row["accuracy"] = {"dense": before} | row["accuracy"]
        add(options.result, result, row, record("benchmarks.every_method", "scikit-learn", seed=seed))
        for left in leftovers(course):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        print(f"{name}, seed {seed}: {row['accuracy']}, {row['macs_left']:.1%} of the MACs", flush=True)


def material(options: argparse.Namespace) -> Material:
    """CIFAR-10, a tenth of the training samples held out."""
    images = data.load("cifar10", options.data)
    whole = (*images.hold_out(0.1), images.test)
    train, held_out, test = (part.subset(torch.arange(options.limit or len(part))) for part in whole)
    if options.train:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        train = train.subset(order[: options.train])
    return Material(train, held_out, test, IMAGENET, "crop-flip", torch.zeros(1, *images.image_shape))


def key_of(options: argparse.Namespace) -> Row:
    """What rows of one table have in common."""
    return {
        "called": options.called,
        "network": options.network,
        "weights": options.weights.name,
        "epochs": options.epochs,
        "lr": options.lr,
        "train": options.train,
        "limit": options.limit,
        "measured_on": "choosing" if options.choosing else "test",
    }


def course_of(options: argparse.Namespace, lesson: Lesson, name: str) -> Course:
    """What a way has to go on."""
    about = lesson.about
    task = Task(about.train, about.choosing, normalise=about.normalise)
    spoken = "".join(one if one.isalnum() else "-" for one in name)
    some = f"{options.train}-{options.limit}"
    recipe = f"{lesson.macs:g}-{options.epochs}x{options.lr:g}-{some}"
    options.models.mkdir(parents=True, exist_ok=True)
    stem = f"every-{options.network}-{spoken}-{recipe}-{lesson.seed}"
    return Course(lesson, task, options.network, options.epochs, options.lr, options.models, stem)


def judged(about: Material, options: argparse.Namespace) -> Split:
    """The samples that accuracies are of."""
    return about.choosing if options.choosing else about.measuring


def accuracy(network: nn.Module, about: Material, options: argparse.Namespace) -> float:
    """In percent."""
    return round(evaluate(network.eval(), judged(about, options), about.normalise).accuracy, 2)


def measured(options: argparse.Namespace, course: Course, way: Way) -> Row:
    """Make the small network, tune it, and measure it before and after."""
    lesson, about = course.lesson, course.lesson.about
    begun = begun_by(course, way)
    network, whole = begun.network, cost(lesson.dense, about.example)
    steps = {} if begun.spent >= course.epochs else {"before tuning": accuracy(network, about, options)}
    trained = tuned(course, way, begun)
    found: Row = {
        "kind": way.kind,
        "listed": way.listed,
        "spent": begun.spent,
        "alone": begun.alone,
        "samples": len(judged(about, options)),
        "samples_seen": trained,
    }
    if hasattr(network, "gates"):  # its cost is that of an input, on average
        size = {"macs_left": begun.alone, "params": sum(one.numel() for one in network.parameters())}
    else:
        left = cost(network, about.example) / whole
        size = {"macs_left": left, "params": sum(one.numel() for one in network.parameters())}
    return found | size | {"accuracy": steps | {"tuned": accuracy(network, about, options)}}


def begun_by(course: Course, way: Way) -> Begun:
    """What the way makes of the network, from its file if it was made before."""
    file, facts = (course.folder / f"{course.name}.{ending}" for ending in ("safetensors", "json"))
    if facts.exists():
        network = storage.load(file, lambda: models.build(course.network, num_classes=CLASSES))
        return Begun(network.eval(), **json.loads(facts.read_text()))
    begun = way.begin(course)
    if 0 < begun.spent < course.epochs:
        storage.save(begun.network.eval(), file)
        save(facts, {"spent": begun.spent, "alone": begun.alone})
    return begun


def tuned(course: Course, way: Way, begun: Begun) -> float:
    """Train for the epochs that are left, in place; how many samples were seen by all trainings, in epochs on
    all of them.
    """
    left = course.epochs - begun.spent
    if left <= 0:
        return float(begun.spent)
    chooser = None if way.samples is None else way.samples(course, course.lesson.dense)

    def told(epoch: EpochRecord) -> None:
        print(f"{course.name}: epoch {epoch.epoch}, loss {epoch.loss:.3f}", flush=True)

    history = course.task.fit(
        begun.network,
        course.config(left),
        validation=None,
        curriculum=chooser,
        checkpoint=course.folder / f"{course.name}.tuning",
        resume=True,
        on_epoch=told,
    )
    seen = sum(epoch.samples for epoch in history.epochs) / len(course.lesson.about.train)
    return begun.spent + round(seen, 3)


def leftovers(course: Course) -> Iterator[Path]:
    """Files of a row that is there."""
    found: Iterable[Path] = course.folder.glob(f"{course.name}[.-]*")
    yield from list(found)


if __name__ == "__main__":
    main()
