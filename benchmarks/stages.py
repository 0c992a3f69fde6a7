"""What `benchmarks.dynamic` and `benchmarks.gated` train: a dense network, and what is left of it at a share
of its MACs, taught by it.

A network with public weights is fine-tuned. Those weights have seen all training samples, so whatever is
chosen is chosen on a drawn half of the test samples, and figures are of the other half. Without weights a
network is trained from scratch on nine tenths of the training samples; choices are made on the rest, and
figures are of all test samples.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import prunus
from benchmarks.environment import save
from benchmarks.methods_subjects import IMAGENET
from benchmarks.recipe import USUAL_DECAY, settings
from benchmarks.rows import UNKNOWN, Record, Row, record, unrecorded
from prunus import data, models, scores, storage
from prunus.compensation import refit
from prunus.data import Split
from prunus.models import load_weights
from prunus.training import Calibration, Normalise, Taught, TrainConfig, taught, train
from prunus.training.feeding import batches
from prunus.training.progress import EpochRecord

CLASSES = 10
DENSE = "1"  # the name of the dense network, as shares go


@dataclass(frozen=True, eq=False)
class Material:
    """Samples, and how they are used.

    Attributes:
        train: to train on.
        choosing: to find thresholds and settings of gates on.
        measuring: that all figures are of.
        normalise: how images are normalised.
        augment: of the training.
        example: one input.
    """

    train: Split
    choosing: Split
    measuring: Split
    normalise: Normalise
    augment: str
    example: Tensor


def material(options: argparse.Namespace) -> Material:
    """MNIST for LeNet-5, else CIFAR-10."""
    digits = options.network == "lenet5"
    images = data.load("mnist" if digits else "cifar10", options.data)
    normalise, augment = (images.normalise, "none") if digits else (IMAGENET, "crop-flip")
    example = torch.zeros(1, *images.image_shape)
    if options.weights is None:
        kept, held_out = images.hold_out(0.1, options.seed)
        return Material(kept, held_out, images.test, normalise, augment, example)
    order = torch.randperm(len(images.test), generator=torch.Generator().manual_seed(options.seed))
    half = len(order) // 2
    return Material(
        images.train,
        images.test.subset(order[:half]),
        images.test.subset(order[half:]),
        normalise,
        augment,
        example,
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Options of what is trained, and how."""
    parser.add_argument("--data", type=Path, help="folder with the files of the data set")
    parser.add_argument(
        "--called",
        default="CIFAR-10",
        help="what the table calls the data, for files that are not the originals",
    )
    parser.add_argument("--weights", type=Path, help="of the network; without, it is trained from scratch")
    parser.add_argument("--models", type=Path, help="folder that the networks are kept in")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--epochs", type=int, default=6, help="of the dense network")
    parser.add_argument("--lr", type=float, default=0.01, help="peak learning rate of these")
    parser.add_argument("--stage-epochs", type=int, default=12, help="of what the dense network teaches")
    parser.add_argument("--stage-lr", type=float, default=0.05, help="peak learning rate of these")
    parser.add_argument("--stage-decay", type=float, default=USUAL_DECAY, help="weight decay of these")
    parser.add_argument("--device", default="cpu", help="that is trained on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--inputs",
        type=int,
        default=500,
        help="that latency is measured on, one by one, and then in batches of 32",
    )


def key_of(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """By which a row is known."""
    return {name: getattr(options, name) for name in names} | {
        "weights": options.weights.name if options.weights else None
    }


def recipe(options: argparse.Namespace, about: Material, dense: bool = False) -> TrainConfig:
    """How the dense network, or what it teaches, is trained."""
    if dense:
        return settings(options.epochs, options.lr, options.seed, augment=about.augment)
    return settings(
        options.stage_epochs,
        options.stage_lr,
        options.seed,
        weight_decay=options.stage_decay,
        augment=about.augment,
    )


def stages_of(options: argparse.Namespace, about: Material, stages: Sequence[str]) -> list[nn.Module]:
    """What the dense network is pruned to, by shares of its MACs or names in the folder, and itself; from
    their files if they are there.
    """
    dense = dense_of(options, about)
    found = []
    for stage in stages:

        def begun(stage: str = stage) -> nn.Module:
            graph, inputs = (
                prunus.trace(dense, about.example),
                Calibration(about.train, about.normalise, seed=options.seed),
            )
            plan = prunus.plan(graph, scores.reconstruction(graph, inputs), macs=float(stage), round_to=8)
            return prunus.compact(refit(dense, plan, inputs), plan)

        found.append(trained(options, about, stage, begun, dense))
    return [*found, dense]


def dense_of(options: argparse.Namespace, about: Material) -> nn.Module:
    """The dense network, trained or fine-tuned."""

    def begun() -> nn.Module:
        torch.manual_seed(options.seed)
        network = built(options.network)
        if options.weights:
            load_weights(network, options.weights)
        return network

    return trained(options, about, DENSE, begun)


def trained(
    options: argparse.Namespace,
    about: Material,
    name: str,
    begun: Callable[[], nn.Module],
    teacher: nn.Module | None = None,
    config: TrainConfig | None = None,
) -> nn.Module:
    """Trained and kept in a file; a training that was broken off goes on. Without a config it is trained as
    the dense network is, or, with a teacher, as what that teaches.
    """
    file = place(options, name)
    if file.exists():
        return stored(options, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    network = begun()

    def told(record: EpochRecord) -> None:
        print(f"{file.stem}: epoch {record.epoch}, loss {record.loss:.3f}", flush=True)

    learner = (Taught(network, teacher) if teacher else network).to(options.device)
    train(
        learner,
        about.train,
        config or recipe(options, about, dense=teacher is None),
        normalise=about.normalise,
        loss=taught if teacher else None,
        checkpoint=file.with_suffix(".checkpoint"),
        resume=True,
        on_epoch=told,
    )
    storage.save(network.cpu().eval(), file)
    sign(options, name, options.device)
    return network


def sign(options: argparse.Namespace, name: str, device: str) -> None:
    """Leave a record of the training beside the network's file, which may go to another machine to be
    measured there.
    """
    module = sys.modules["__main__"].__spec__
    how = record(module.name if module else UNKNOWN, device=device, seed=options.seed)
    save(_record_file(options, name), how)


def trainings(options: argparse.Namespace, names: Sequence[str]) -> Row:
    """The records of trainings, as a row has them; of a network without one, that nothing was recorded."""
    found: dict[str, Record] = {}
    for name in names:
        file = _record_file(options, name)
        how = json.loads(file.read_text()) if file.exists() else unrecorded(options.seed)
        found[f"training of {'dense' if name == DENSE else name}"] = how
    return {"measured": found}


def _record_file(options: argparse.Namespace, name: str) -> Path:
    return place(options, name).with_suffix(".training.json")


def timed_on(about: Material, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """So many samples one by one, and in batches of 32."""
    some = about.measuring.subset(torch.arange(count))
    return tuple(
        [
            images
            for images, _ in batches(some.subset(torch.arange(count // size * size)), about.normalise, size)
        ]
        for size in (1, 32)
    )  # type: ignore[return-value]


def built(name: str) -> nn.Module:
    """With random weights."""
    return models.build(name, num_classes=CLASSES)


def place(options: argparse.Namespace, name: str) -> Path:
    """The file of a stage."""
    folder: Path = options.models
    return folder / f"{options.network}-{name}-{options.seed}.safetensors"


def stored(options: argparse.Namespace, name: str) -> nn.Module:
    """A stage from its file."""
    return storage.load(place(options, name), lambda: built(options.network)).eval()
