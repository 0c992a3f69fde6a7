"""Gated networks on CIFAR-10, trained to half of the MACs: accuracy against the dense network and a static one, and latency input by input.

    python -m benchmarks.gated accuracy --data DIR --weights FILE --models DIR [--network resnet20] [--budget 0.5] [--block 1]
    python -m benchmarks.gated latency --data DIR --weights FILE --models DIR

The fine-tuned network and the static ones are those of `benchmarks.dynamic`, in the same folder; gates and network are trained together, taught by
the fine-tuned network for as many epochs as the static ones were. Gates are calibrated on a drawn half of the test samples, and figures are of the
other.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from benchmarks.dynamic import Taught, add_training, built, halves, place, stages_of, taught, timed
from benchmarks.environment import RESULTS, command, describe, save
from benchmarks.methods_subjects import IMAGENET
from benchmarks.recipe import settings
from benchmarks.rows import Row, add, kept, measured_before
from prunus import data, storage
from prunus.data import ImageData
from prunus.dynamic import DynamicNetwork, activity, attach
from prunus.methods.gating import Allowance, within
from prunus.training import Calibration, evaluate, train
from prunus.training.feeding import batches, steps_per_epoch
from prunus.training.progress import EpochRecord

RESULT = RESULTS / "gated.json"
KEY = ("called", "network", "budget", "kind", "block", "stage_epochs", "stage_lr", "seed")
INPUTS = 500  # that latency is measured on, one by one
EXAMPLE = torch.zeros(1, 3, 32, 32)


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part == "accuracy":
        key = key_of(options, KEY)
        if not measured_before(result, key):
            add(RESULT, result, key | accuracy(options), "benchmarks.gated", "numpy")
    elif options.part == "latency":
        for row in result["rows"]:
            row["latency"] = latency(row, options)
        save(RESULT, result | {"command": command("benchmarks.gated"), "environment": describe("onnxruntime")})
    RESULT.with_suffix(".md").write_text(table(result["rows"]))
    print(table(result["rows"]))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("accuracy", "latency", "table"))
    add_training(parser)
    parser.add_argument("--budget", type=float, default=0.5, help="mean MACs")
    parser.add_argument("--kind", default="activation", help="of the gates")
    parser.add_argument("--block", type=int, default=1, help="channels that share a switch")
    return parser.parse_args()


def trained(options: argparse.Namespace, images: ImageData) -> tuple[DynamicNetwork, nn.Module]:
    """A gated network, and the dense one that taught it; a training that was broken off goes on."""
    (dense,) = stages_of(options, images, [1.0])
    network = attach(dense, EXAMPLE, kind=options.kind, block=options.block)
    config = settings(options.stage_epochs, options.stage_lr, options.seed)
    allowance = Allowance(options.budget, config.epochs * steps_per_epoch(len(images.train), config.batch_size))
    name = f"gated-{options.kind}-{options.block}-{options.budget:g}"

    def told(record: EpochRecord) -> None:
        print(f"{name}: epoch {record.epoch}, loss {record.loss:.3f}, {float(network.expected().detach()):.1%} of the MACs", flush=True)

    train(
        Taught(network, dense), images.train, config, normalise=IMAGENET, loss=within(network, allowance, taught), pruning=allowance,
        checkpoint=place(options.models, options.network, name).with_suffix(".checkpoint"), resume=True, on_epoch=told,
    )  # fmt: skip
    return network.eval(), dense


def accuracy(options: argparse.Namespace) -> Row:
    """Train, calibrate, and measure at the budget and around it."""
    images = data.load("cifar10", options.data)
    network, dense = trained(options, images)
    choosing, measuring = halves(images.test, options.seed)
    network.calibrate(Calibration(choosing, IMAGENET, len(choosing)))
    points: list[Row] = [{"budget": None} | measured(network, measuring)]
    for budget in (options.budget - 0.1, options.budget, options.budget + 0.1):
        network.budget = budget
        points.append({"budget": budget, "strictness": network.strictness} | measured(network, measuring))
    static = storage.load(place(options.models, options.network, f"{options.budget:g}"), lambda: built(options.network)).eval()
    alone = {name: evaluate(one, measuring, IMAGENET).accuracy for name, one in (("dense", dense), ("static", static))}
    return {"points": points, "alone": alone, "samples": [len(choosing), len(measuring)], "knob": network.knob}


def measured(network: DynamicNetwork, samples: data.Split) -> Row:
    """Accuracy, and MACs over inputs, the gates' own included."""
    found = activity(network, Calibration(samples, IMAGENET, len(samples)))
    shares = found.macs.double() / found.dense_macs
    return {
        "accuracy": evaluate(network, samples, IMAGENET).accuracy,
        "cost": found.expected,
        "deviation": float(shares.std()),
        "always": _share(found.opened.values(), 1.0),
        "never": _share(found.opened.values(), 0.0),
    }


def _share(opened: object, value: float) -> float:
    every = torch.cat(list(opened))  # type: ignore[call-overload]
    return float((every == value).double().mean())


def latency(row: Row, options: argparse.Namespace) -> list[Row]:
    """Milliseconds of the dense and the gated network of a row at its budget, input by input in turns."""
    images = data.load("cifar10", options.data)
    for name in KEY:
        setattr(options, name, row[name])
    network, dense = trained(options, images)
    network.tighten(next(point["strictness"] for point in row["points"] if point["budget"] == row["budget"]))
    _, measuring = halves(images.test, row["seed"])
    inputs: list[Tensor] = [one for one, _ in batches(measuring.subset(torch.arange(INPUTS)), IMAGENET, 1)]
    return timed({"dense": dense, "gated": network}, inputs)


def table(rows: list[Row]) -> str:
    """All rows as Markdown."""
    lines = ["# Gated networks", ""]
    for row in rows:
        gates = f"{row['kind']}, blocks of {row['block']}, trained to {row['budget']:.0%} of the MACs"
        lines += [
            f"## {row['called']}, {row['network']}, {gates}, seed {row['seed']}",
            "",
            "| network | accuracy | MACs | deviation over inputs | channels always open | never open |",
            "|---|---|---|---|---|---|",
            f"| dense | {row['alone']['dense']:.2f} | 100.0% | | | |",
            f"| static | {row['alone']['static']:.2f} | {row['budget']:.1%} | | | |",
        ]
        for point in row["points"]:
            name = "gated, as trained" if point["budget"] is None else f"gated, budget {point['budget']:.0%}"
            figures = (f"{point[key]:.1%}" for key in ("cost", "deviation", "always", "never"))
            lines.append(f"| {name} | {point['accuracy']:.2f} | {' | '.join(figures)} |")
        if "latency" in row:
            lines += ["", "| runtime | network | median | 95 % | mean |", "|---|---|---|---|---|"]
            for one in row["latency"]:
                figures = (f"{one[key]:.2f} ms" for key in ("p50", "p95", "mean"))
                lines.append(f"| {one['runtime']} | {one['network']} | {' | '.join(figures)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
