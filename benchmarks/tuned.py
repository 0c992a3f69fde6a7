"""What pruning is worth after fine-tuning: one dense network, many ways to a share of its MACs, and the same
training after each; beside them the same shapes from scratch, and the dense network trained as long.

    python -m benchmarks.tuned --data DIR --models DIR [--network resnet20] [--weights FILE] [--macs 0.5 0.25]
        [--seeds 3] [--tune-epochs 5] [--tune-lr 0.05] [--optimizer sgd] [--rewind 0] [--taught]
        [--compile] [--only PATTERN ...]

The dense network is one for all rows, public weights fine-tuned on nine tenths of the training samples; seeds
choose the calibration samples, the weights of what starts from scratch, and the order and augmentation of the
training. Choices are made on the other tenth, which public weights have seen, and accuracies are of all test
samples; with --choosing, to find a recipe, they are of that tenth. A row is written as soon as it is there; a
training that was broken off goes on, and rows that exist are not measured again.
"""

from __future__ import annotations

import argparse
import fnmatch
from itertools import product

import torch
from torch import nn

from benchmarks.environment import RESULTS
from benchmarks.methods_subjects import IMAGENET
from benchmarks.recipe import settings
from benchmarks.rows import Row, add, kept, measured_before, record
from benchmarks.stages import Material, add_training, dense_of, key_of, place
from benchmarks.tuned_networks import DENSE, PEER, WAYS, Lesson, cost
from benchmarks.tuned_table import table
from prunus import data
from prunus.data import Split
from prunus.training import Taught, evaluate, recalibrate_if_better, taught, train
from prunus.training.progress import EpochRecord

RESULT = RESULTS / "tuned.json"
KEY = ("called", "network", "epochs", "lr", "tune_epochs", "tune_lr", "optimizer", "rewind", "taught")


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    result = kept(RESULT)
    if not options.table:
        about = material(options)
        dense = dense_of(options, about).eval()
        before = accuracy(dense, about, options)
        for seed, macs, way in product(range(options.seeds), options.macs, WAYS):
            if any(fnmatch.fnmatch(way, pattern) for pattern in options.only):
                run(result, options, Lesson(dense, about, 1.0 if way == DENSE else macs, seed), way, before)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training(parser)
    parser.add_argument("--macs", type=float, nargs="+", default=[0.5, 0.25], help="shares that are left")
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0")
    parser.add_argument("--tune-epochs", type=int, default=5, help="of every small network")
    parser.add_argument("--tune-lr", type=float, default=0.05, help="peak learning rate of these")
    parser.add_argument("--optimizer", choices=("sgd", "muon"), default="sgd", help="of the tuning")
    parser.add_argument(
        "--rewind", type=int, default=0, help="replay the end of a training of so many epochs (0: none)"
    )
    parser.add_argument("--taught", action="store_true", help="the dense network teaches")
    parser.add_argument(
        "--compile", action="store_true", help="tune through torch.compile, which changes the time alone"
    )
    parser.add_argument("--only", nargs="+", default=["*"], help="ways to run, with wildcards")
    parser.add_argument("--choosing", action="store_true", help="measure on the samples for choices")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    parser.set_defaults(seed=0)
    return parser.parse_args()


def material(options: argparse.Namespace) -> Material:
    """CIFAR-10, a tenth of the training samples held out."""
    images = data.load("cifar10", options.data)
    kept, held_out = images.hold_out(0.1)
    return Material(kept, held_out, images.test, IMAGENET, "crop-flip", torch.zeros(1, *images.image_shape))


def run(result: Row, options: argparse.Namespace, lesson: Lesson, way: str, before: float) -> None:
    """One row, unless it is there already."""
    key = key_of(options, KEY) | {
        "measured_on": "choosing" if options.choosing else "test",
        "macs": lesson.macs,
        "way": way,
        "seed": lesson.seed,
    }
    if measured_before(result, key):
        return
    row = key | measured(options, lesson, way)
    row["accuracy"] = {"dense": before} | row["accuracy"]
    peers = ("torch-pruning",) if way == PEER else ()
    add(RESULT, result, row, record("benchmarks.tuned", *peers, seed=lesson.seed))
    print(f"{options.network}, {lesson.macs:.0%}, {way}, seed {lesson.seed}: {row['accuracy']}", flush=True)


def judged(about: Material, options: argparse.Namespace) -> Split:
    """The samples that accuracies are of."""
    return about.choosing if options.choosing else about.measuring


def accuracy(network: nn.Module, about: Material, options: argparse.Namespace) -> float:
    """In percent."""
    return round(evaluate(network.eval(), judged(about, options), about.normalise).accuracy, 2)


def measured(options: argparse.Namespace, lesson: Lesson, way: str) -> Row:
    """Make the small network, tune it, and measure it before and after."""
    about = lesson.about
    network = WAYS[way](lesson)
    if way != DENSE and "scratch" not in way:
        recalibrate_if_better(network, about.train, about.normalise, about.choosing)
    whole = cost(lesson.dense, about.example)
    found: Row = {
        "samples": len(judged(about, options)),
        "macs_left": cost(network, about.example) / whole,
        "params": sum(one.numel() for one in network.parameters()),
    }
    steps = {"before tuning": accuracy(network, about, options)}
    tune(options, about, lesson.dense, f"{way}-{lesson.macs:g}", network, lesson.seed)
    return found | {"accuracy": steps | {"tuned": accuracy(network, about, options)}}


def tune(
    options: argparse.Namespace, about: Material, dense: nn.Module, name: str, network: nn.Module, seed: int
) -> None:
    """Train in place; what was broken off goes on."""
    config = settings(
        options.tune_epochs,
        options.tune_lr,
        seed,
        augment=about.augment,
        optimizer=options.optimizer,
        rewind=options.rewind,
        compile=options.compile,
    )
    spoken = "".join(one if one.isalnum() else "-" for one in name)
    recipe = f"{options.optimizer}-{options.tune_epochs}x{options.tune_lr:g}-{options.rewind}"
    recipe += "-taught" * options.taught
    checkpoint = place(options, f"tuned-{spoken}-{recipe}-{seed}")

    def told(epoch: EpochRecord) -> None:
        print(f"{checkpoint.stem}: epoch {epoch.epoch}, loss {epoch.loss:.3f}", flush=True)

    train(
        Taught(network, dense) if options.taught else network,
        about.train,
        config,
        normalise=about.normalise,
        loss=taught if options.taught else None,
        checkpoint=checkpoint,
        resume=True,
        on_epoch=told,
    )
    checkpoint.unlink()


if __name__ == "__main__":
    main()
