"""Importance weights under a tolerance on real segmentation: U-Net and TernausNet, trained, made small, and
measured on pictures that chose nothing.

    python -m benchmarks.segmentation prune --data DIR --called NAME --models DIR [--network unet --width
        32 --block 4 ...]
    python -m benchmarks.segmentation control --data DIR --called NAME --models DIR
    python -m benchmarks.segmentation latency --models DIR

A fifth of the pictures is held out for the test and another for the tolerance, tiles of one large picture in
blocks; with `--folds 5 --fold 0 1 2 3 4` every picture or block is in one test and in one tolerance. `prune`
trains a network, then makes it as small as both tolerances let. A network that goes on training in its trials
may gain from that alone: `control` trains the original on as often and as long as the small one was, with
nothing removed, and besides it networks of the small shape with new weights, and what it gives to call all
pixels by the class that most training pixels have (`benchmarks.segmentation_controls`). `latency` measures
both in turns, and wants a quiet machine. The last two do it for all rows that lack it and whose networks are
in the folder. A row is written as soon as it is there; the networks are kept, and a training that was broken
off goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from benchmarks.environment import RESULTS, precision
from benchmarks.rows import Row, add, complete, kept, measured_before, record
from benchmarks.segmentation_controls import (
    MAJORITY,
    SCRATCH,
    SCRATCH_ALL,
    Constant,
    commonest,
)
from benchmarks.segmentation_table import table
from benchmarks.tuned_networks import renewed
from prunus import models, storage
from prunus.data.picture_sets import hold_out, load_pictures, square, statistics
from prunus.data.pictures import Example, Loaded
from prunus.measure.comparison import compare_latency
from prunus.methods.importance import importance_pruning
from prunus.planning.tolerance import all_within
from prunus.plans.plan import Trial
from prunus.scores.importance import Start
from prunus.segmentation import Patches, evaluate
from prunus.segmentation.losses import cross_entropy
from prunus.tasks import Task
from prunus.training import Normalise, TrainConfig, train

RESULT = RESULTS / "segmentation.json"
TOLERANCES = {"pixel accuracy": 0.32, "IoU": 1.0}  # points
RATES = {
    "unet": 2e-3,
    "ternausnet": 3e-4,
}  # peak learning rates of Adam; without batch norm only a lower one is stable
KEY = tuple(
    (
        "called network width seed block shrink epochs trial_epochs size count step least l1 importance "
        "scope round_to start folds fold"
    ).split()
)
STARTS = get_args(Start)
SIDE = 256  # of the picture that FLOPs and latency are of [pixels]
Figures = dict[str, float]


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part == "prune":
        for start, fold in product(options.start, options.fold):
            key = {name: getattr(options, name) for name in KEY} | {"start": start, "fold": fold}
            if measured_before(result, key):
                continue
            row = key | Run(key, options.models, Pictures.read(options.data, key)).pruned()
            how = record("benchmarks.segmentation", "onnxruntime", seed=row["seed"])
            add(RESULT, result, row, how, "prune")
    elif options.part != "table":
        parts = ("control", "baselines") if options.part == "control" else ("latency",)
        for row, part in product(result["rows"], parts):
            if part not in row and there(row, options):
                how = record("benchmarks.segmentation", "onnxruntime", seed=row["seed"])
                complete(RESULT, result, row, part, later(row, part, options), how)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def there(row: Row, options: argparse.Namespace) -> bool:
    """Whether a row is of the data that was named, if any was, and its networks are in the folder."""
    files = (options.models / name_of(row) / file for file in ("base.safetensors", small_of(row)))
    return options.called in (None, row["called"]) and all(file.exists() for file in files)


def later(row: Row, part: str, options: argparse.Namespace) -> Row:
    """What is measured of the networks of a row once they are there."""
    if part == "latency":
        return latency(row, options.models)
    run = Run(row, options.models, Pictures.read(options.data, row))
    return run.control(row) if part == "control" else run.baselines(row)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("prune", "control", "latency", "table"))
    parser.add_argument("--data", type=Path, help="folder with pictures and masks")
    parser.add_argument("--called", help="what the table calls the data")
    parser.add_argument("--models", type=Path, help="folder that the networks are kept in")
    parser.add_argument("--network", choices=tuple(RATES), default="unet")
    parser.add_argument("--width", type=int, default=32, help="channels of the first level")
    parser.add_argument(
        "--seed", type=int, default=0, help="of everything random, the split of the pictures included"
    )
    parser.add_argument(
        "--block", type=int, default=3, help="side of the blocks that tiles are held out in; 1 = one by one"
    )
    parser.add_argument("--folds", type=int, default=0, help="deal pictures or blocks into so many parts")
    parser.add_argument("--fold", type=int, nargs="+", default=[0], help="of these, those to test on in turn")
    parser.add_argument(
        "--shrink",
        type=int,
        default=1,
        help="make binary pictures so many times smaller: the same sight for less work",
    )
    parser.add_argument("--epochs", type=int, default=20, help="of the training")
    parser.add_argument("--trial-epochs", type=int, default=4, help="with weights, and of fine-tuning, each")
    parser.add_argument("--size", type=int, default=128, help="side of the windows to train on [pixels]")
    parser.add_argument("--count", type=int, default=256, help="windows per epoch")
    parser.add_argument(
        "--step", type=float, default=0.5, help="share of the MACs that a trial removes at first"
    )
    parser.add_argument("--least", type=float, default=0.1, help="smallest share that is tried")
    parser.add_argument("--l1", type=float, default=1e-3, help="strength of the penalty on the weights")
    parser.add_argument("--importance", choices=("weight", "weight times norm"), default="weight")
    parser.add_argument("--scope", choices=("global", "uniform"), default="global")
    parser.add_argument(
        "--start", choices=STARTS, nargs="+", default=["ones"], help="of the weights; of several, one by one"
    )
    parser.add_argument("--round-to", type=int, default=1, help="widths become multiples of this")
    return parser.parse_args()


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is trained on, what keeps the tolerance, and what nothing is chosen by."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    normalise: Normalise

    @classmethod
    def read(cls, folder: Path, key: Row) -> Pictures:
        """A fifth to test, a fifth to validate; or one fold each."""
        found = load_pictures(folder, key["seed"], key["block"])
        if key["folds"]:
            every = sorted([*found.train, *found.test], key=lambda example: example.name)
            parts = folded(every, key["folds"], key["fold"], key["block"])
            normalise: Normalise = statistics(parts[0])
        else:
            training, validation = hold_out(found.train, 0.25, key["seed"], key["block"])
            parts, normalise = (training, validation, found.test), found.normalise
        train, held, test = ([shrunk(example, key["shrink"]) for example in part] for part in parts)
        return cls(train, held, test, normalise)


def folded(
    every: list[Example], folds: int, fold: int, block: int
) -> tuple[list[Example], list[Example], list[Example]]:
    """Pictures to train on, those of the next fold to validate, and those of the fold to test on. Blocks of
    tiles stay together; which fold they are in is drawn once and for all.
    """
    blocks: dict[object, list[Example]] = {}
    for example in every:
        blocks.setdefault(square(example.name, block) if block > 1 else example.name, []).append(example)
    if not 3 <= folds <= len(blocks) or not 0 <= fold < folds:
        raise SystemExit(f"{len(blocks)} pictures or blocks go into 3 to {len(blocks)} folds, from 0.")
    order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(0)).tolist()
    found = list(blocks.values())
    dealt = [[one for place in order[part::folds] for one in found[place]] for part in range(folds)]
    following = (fold + 1) % folds
    rest = [one for part in range(folds) if part not in (fold, following) for one in dealt[part]]
    return rest, dealt[following], dealt[fold]


def shrunk(example: Example, times: int) -> Example:
    """Pixels become means of squares; a mask's are what most of the square is."""
    assert example.mask is not None
    image, mask = (part.read(0, 0, *part.shape[1:]).float() for part in (example.picture, example.mask))
    image, mask = F.avg_pool2d(image, times).round(), F.avg_pool2d(mask, times).round()
    return Example(example.name, Loaded(image.byte()), Loaded(mask.byte()))


class Run:
    """One network on one set."""

    def __init__(self, key: Row, folder: Path, pictures: Pictures) -> None:
        self.key, self.pictures, self.folder = (
            key | {"planes": len(pictures.normalise[0])},
            pictures,
            folder / name_of(key),
        )
        self.patches = Patches(pictures.train, pictures.normalise, key["size"], key["count"], batch_size=8)

    def pruned(self) -> Row:
        """Train, make small, and measure before and after."""
        base, seconds = self.trained()
        example = measured_at(self.key)
        before = prunus.trace(base, example).cost()
        trials: list[Row] = []
        seen: list[Figures] = []

        def validated(network: nn.Module) -> Figures:
            seen.append(self.figures(network, self.pictures.validation))
            return seen[-1]

        def told(trial: Trial) -> None:
            trials.append({"macs_left": trial.macs / before.macs, "accepted": trial.accepted} | seen[-1])
            print({name: round(value, 3) for name, value in trials[-1].items()}, flush=True)

        started = time.perf_counter()
        found = importance_pruning(
            base,
            self.task(example),
            tolerance=1.0,
            evaluate=all_within(base, validated, TOLERANCES),
            step=self.key["step"],
            least_step=self.key["least"],
            l1=self.key["l1"],
            importance=self.key["importance"],
            start=self.key["start"],
            scope=self.key["scope"],
            round_to=self.key["round_to"],
            config=self.config(self.key["trial_epochs"], 0.5, "cosine"),
            on_trial=told,
        )
        trials = [{"step": step} | trial for step, trial in zip(found.found["steps"], trials, strict=True)]
        storage.save(found.model, self.folder / small_of(self.key))
        after = found.plan.after
        return {
            "planes": self.key["planes"],
            "pictures": [len(self.pictures.train), len(self.pictures.validation), len(self.pictures.test)],
            "before": self.both(base),
            "after": self.both(found.model),
            "macs": [before.macs, after.macs],
            "params": [before.params, after.params],
            "trials": trials,
            "seconds": {"training": seconds, "trials": time.perf_counter() - started},
        }

    def control(self, row: Row) -> Row:
        """The original, trained on as often as the small network was, and measured likewise."""
        network = base_of(row, self.folder)
        for _ in range(
            2 * sum(trial["accepted"] for trial in row["trials"])
        ):  # with weights and in fine-tuning
            self.task().fit(network, self.config(row["trial_epochs"], 0.5, "cosine"))
        return self.both(network.eval())

    def baselines(self, row: Row) -> dict[str, dict[str, Figures]]:
        """The class of most pixels everywhere, and the small network's shape with new weights."""
        small = self.folder / small_of(self.key)

        def anew() -> nn.Module:
            return renewed(storage.load(small, lambda: built(self.key)), self.key["seed"])

        most = Constant(commonest(self.pictures.train))
        found = {MAJORITY: self.both(most)}
        tuning = 2 * row["trial_epochs"] * sum(trial["accepted"] for trial in row["trials"])
        for title, epochs in ((SCRATCH, tuning), (SCRATCH_ALL, row["epochs"] + tuning)):
            if not epochs:
                continue  # nothing was accepted, so nothing was tuned
            network = anew()
            train(
                network,
                self.patches,
                self.config(epochs, 1.0, "onecycle"),
                loss=cross_entropy,
                checkpoint=small.with_name(f"{small.stem}-scratch-{epochs}.checkpoint"),
                resume=True,
            )
            found[title] = self.both(network.eval())
        return found

    def trained(self) -> tuple[nn.Module, float]:
        """The original and the seconds of its training; from the file if there is one."""
        torch.manual_seed(self.key["seed"])
        network, started = built(self.key), time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        history = train(
            network,
            self.patches,
            self.config(self.key["epochs"], 1.0, "onecycle"),
            loss=cross_entropy,
            checkpoint=self.folder / "training.safetensors",
            resume=True,
            on_epoch=lambda record: print(
                f"epoch {record.epoch}: {record.loss:.3f}, {time.perf_counter() - started:.0f} s", flush=True
            ),
        )
        storage.save(network.eval(), self.folder / "base.safetensors")
        return network, sum(epoch.seconds for epoch in history.epochs)

    def task(self, example: Tensor | None = None) -> Task:
        """What a trial trains on; fewer epochs, from half of the rate."""
        return Task(self.patches, loss=cross_entropy, example=example)

    def config(self, epochs: int, share: float, schedule: Any) -> TrainConfig:
        """Adam at a share of the network's rate."""
        rate = share * RATES[self.key["network"]]
        return settings(epochs, rate, self.key["seed"], schedule=schedule)

    def both(self, network: nn.Module) -> dict[str, Figures]:
        """On the pictures that keep the tolerance, and on those that nothing is chosen by."""
        return {
            "validation": self.figures(network, self.pictures.validation),
            "test": self.figures(network, self.pictures.test),
        }

    def figures(self, network: nn.Module, pictures: list[Example]) -> Figures:
        """Metrics over whole pictures, in the precision of the training."""
        with torch.autocast("cpu", torch.bfloat16, enabled=precision() == "bfloat16"):
            return evaluate(network, pictures, self.pictures.normalise).figures()


def settings(epochs: int, lr: float, seed: int, **changed: Any) -> TrainConfig:
    """How networks are trained on windows, but for what is changed."""
    usual: dict[str, Any] = {
        "batch_size": 64,
        "schedule": "onecycle",
        "optimizer": "adam",
        "weight_decay": 0,
        "clip": 1.0,
        "precision": precision(),
        "channels_last": True,
    }
    return TrainConfig(epochs=epochs, lr=lr, seed=seed, **usual | changed)


def name_of(key: Row) -> str:
    """The folder of a row's networks: what its training depends on."""
    parts = ("called", "network", "width", "seed", "shrink", "epochs", "size", "count")
    fold = ("folds", "fold") if key["folds"] else ()
    return "-".join(str(key[part]) for part in (*parts, *fold)).replace(" ", "-")


def small_of(key: Row) -> str:
    """The file of a row's small network."""
    parts = [key[part] for part in ("importance", "scope", "step", "trial_epochs", "round_to")]
    parts += [key["start"]] if key["start"] != "ones" else []
    return f"small-{'-'.join(map(str, parts))}.safetensors".replace(" ", "-")


def built(key: Row) -> nn.Module:
    """A network with random weights."""
    return models.build(key["network"], width=key["width"], in_channels=key["planes"])


def measured_at(key: Row) -> Tensor:
    """A picture of noise."""
    return torch.randn(1, key["planes"], SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def base_of(key: Row, folder: Path) -> nn.Module:
    """The trained original."""
    return storage.load(folder / "base.safetensors", lambda: built(key))


def latency(row: Row, folder: Path) -> dict[str, dict[str, Any]]:
    """Medians of both networks [ms] and how many times faster the small one is, on one thread."""
    place = folder / name_of(row)
    small = storage.load(place / small_of(row), lambda: built(row))
    measured, _ = compare_latency(base_of(row, place), small, measured_at(row))
    return {
        one.runtime: {
            "before_ms": one.before.median_ms,
            "after_ms": one.after.median_ms,
            "times": one.speedup.factor,
            "wins": one.speedup.wins,
        }
        for one in measured
    }


if __name__ == "__main__":
    main()
