"""Gated networks on CIFAR-10 and MNIST, trained to half of the MACs: accuracy against the dense network and a
static one, and latency input by input.

    python -m benchmarks.gated accuracy --data DIR [--weights FILE] --models DIR [--network resnet20]
        [--budget 0.5] [--kind activation] [--block 1]
    python -m benchmarks.gated controls --data DIR [--weights FILE] --models DIR
    python -m benchmarks.gated latency --data DIR --models DIR

The dense network and the static ones are those of `benchmarks.dynamic`, in the same folder, and so are the
samples that gates are calibrated on and those that figures are of (`benchmarks.stages`). Gates and network
are trained together, taught by the dense network for as many epochs as the static ones were. `controls` are
those of `benchmarks.dynamic` for the static network of as many MACs, in the same files. `latency` measures
all rows whose networks are in the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.dynamic import timed
from benchmarks.dynamic_table import times
from benchmarks.environment import RESULTS
from benchmarks.rows import Row, add, complete, kept, measured_before, page, record
from benchmarks.stage_controls import accuracy as control_accuracy
from benchmarks.stage_controls import add_controls
from benchmarks.stages import (
    DENSE,
    Material,
    add_training,
    dense_of,
    key_of,
    material,
    place,
    recipe,
    sign,
    stored,
    timed_on,
    trainings,
)
from prunus.dynamic import DynamicNetwork, activity, attach, load_gates, save_gates
from prunus.methods.train_gated import Allowance, within
from prunus.storage import save as save_network
from prunus.training import Calibration, Taught, evaluate, taught, train
from prunus.training.feeding import steps_per_epoch
from prunus.training.progress import EpochRecord

RESULT = RESULTS / "gated.json"
KEY = ("called", "network", "budget", "kind", "block", "epochs", "lr", "stage_epochs", "stage_lr", "seed")


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part == "accuracy":
        key = key_of(options, KEY)
        if not measured_before(result, key):
            row = key | accuracy(options)
            row |= trainings(options, [DENSE, f"{options.budget:g}", name_of(options)])
            add(RESULT, result, row, record("benchmarks.gated", "numpy", seed=options.seed), "accuracy")
    elif options.part == "controls":
        result = add_controls(
            RESULT,
            "benchmarks.gated",
            options,
            KEY,
            lambda here, row: [f"{row['budget']:g}"],
            control_accuracy,
        )
    elif options.part == "latency":
        for row in result["rows"]:
            here = argparse.Namespace(**vars(options) | {name: row[name] for name in (*KEY, "weights")})
            if place(here, name_of(here)).exists():
                complete(
                    RESULT,
                    result,
                    row,
                    "latency",
                    latency(row, here),
                    record("benchmarks.gated", "onnxruntime", seed=row["seed"]),
                )
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("accuracy", "controls", "latency", "table"))
    add_training(parser)
    parser.add_argument("--budget", type=float, default=0.5, help="mean MACs")
    parser.add_argument("--kind", default="activation", help="of the gates")
    parser.add_argument("--block", type=int, default=1, help="channels that share a switch")
    return parser.parse_args()


def name_of(options: argparse.Namespace) -> str:
    """Of the file of a gated network."""
    return f"gated-{options.kind}-{options.block}-{options.budget:g}"


def gates_of(options: argparse.Namespace) -> Path:
    """The file of its gates."""
    return place(options, name_of(options)).with_suffix(".gates")


def trained(options: argparse.Namespace, about: Material) -> DynamicNetwork:
    """A gated network, from its files if they are there; a training that was broken off goes on."""
    file = place(options, name_of(options))
    if file.exists():
        return load_gates(stored(options, name_of(options)), about.example, gates_of(options))
    dense = dense_of(options, about)
    network = attach(dense, about.example, kind=options.kind, block=options.block)
    config = recipe(options, about)
    allowance = Allowance(
        options.budget, config.epochs * steps_per_epoch(len(about.train), config.batch_size)
    )

    def told(record: EpochRecord) -> None:
        print(
            f"{file.stem}: epoch {record.epoch}, loss {record.loss:.3f},"
            f" {float(network.expected().detach()):.1%} of the MACs",
            flush=True,
        )

    train(
        Taught(network, dense),
        about.train,
        config,
        normalise=about.normalise,
        loss=within(network, allowance, taught),
        pruning=allowance,
        checkpoint=file.with_suffix(".checkpoint"),
        resume=True,
        on_epoch=told,
    )
    network.eval().calibrate(Calibration(about.choosing, about.normalise, len(about.choosing)))
    save_gates(network, gates_of(options))
    save_network(network.plain(), file)
    sign(options, name_of(options), device="cpu")
    return network


def accuracy(options: argparse.Namespace) -> Row:
    """Train, calibrate, and measure at the budget and around it."""
    about = material(options)
    network = trained(options, about)
    points: list[Row] = [{"budget": None} | measured(network, about)]
    for budget in (options.budget - 0.1, options.budget, options.budget + 0.1):
        if network.knob[-1][1] <= budget <= network.knob[0][1]:
            network.budget = budget
            points.append({"budget": budget, "strictness": network.strictness} | measured(network, about))
    alone = {
        name: evaluate(stored(options, share), about.measuring, about.normalise).accuracy
        for name, share in (("dense", DENSE), ("static", f"{options.budget:g}"))
    }
    return {
        "points": points,
        "alone": alone,
        "samples": [len(about.choosing), len(about.measuring)],
        "knob": network.knob,
    }


def measured(network: DynamicNetwork, about: Material) -> Row:
    """Accuracy, and MACs over inputs, the gates' own included."""
    found = activity(network, Calibration(about.measuring, about.normalise, len(about.measuring)))
    shares = found.macs.double() / found.dense_macs
    return {
        "accuracy": evaluate(network, about.measuring, about.normalise).accuracy,
        "cost": found.expected,
        "deviation": float(shares.std()),
        "always": _share(found.opened.values(), 1.0),
        "never": _share(found.opened.values(), 0.0),
    }


def _share(opened: object, value: float) -> float:
    every = torch.cat(list(opened))  # type: ignore[call-overload]
    return float((every == value).double().mean())


def latency(row: Row, options: argparse.Namespace) -> list[Row]:
    """Milliseconds of the dense, the static and the gated network of a row at its budget, input by input and
    in batches of 32, in turns.
    """
    about = material(options)
    network = trained(options, about)
    network.budget = row["budget"]
    networks = {
        "dense": stored(options, DENSE),
        "static": stored(options, f"{options.budget:g}"),
        "gated": network,
    }
    single, together = timed_on(about, options.inputs)
    return [*timed(networks, single), *timed(networks, together)]


def table(result: Row) -> str:
    """All rows as Markdown."""
    about = (
        "Gates and network are trained together, taught by the dense network; the static network is the one "
        "of `benchmarks.dynamic`, and so are the controls: the dense network, trained on for as many epochs, "
        "taught by itself, and the static network's shape with new weights."
    )
    return page("Gated networks", result["rows"], about, lambda: _sections(result["rows"]), title)


def title(row: Row) -> str:
    """What a row is of."""
    gates = f"{row['kind']}, blocks of {row['block']}, trained to {row['budget']:.0%} of the MACs"
    return f"{row['called']}, {row['network']}, {gates}, seed {row['seed']}"


def _sections(rows: list[Row]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        lines += [
            f"## {title(row)}",
            "",
            "| network | accuracy | MACs | deviation over inputs | channels always open | never open |",
            "|---|---|---|---|---|---|",
            f"| dense | {row['alone']['dense']:.2f} | 100.0% | | | |",
            f"| static | {row['alone']['static']:.2f} | {row['budget']:.1%} | | | |",
        ]
        for title_, accuracy in row.get("controls", {}).items():
            lines.append(f"| control: {title_} | {accuracy:.2f} | | | | |")
        for point in row["points"]:
            name = "gated, as trained" if point["budget"] is None else f"gated, budget {point['budget']:.0%}"
            figures = (f"{point[key]:.1%}" for key in ("cost", "deviation", "always", "never"))
            lines.append(f"| {name} | {point['accuracy']:.2f} | {' | '.join(figures)} |")
        if "latency" in row:
            lines += ["", *times(row["latency"])]
    return lines


if __name__ == "__main__":
    main()
