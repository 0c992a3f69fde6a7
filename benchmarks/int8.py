"""Pruned and quantised: a pretrained CIFAR-10 network, what is left of it, and both in 8 bits.

    python -m benchmarks.int8 accuracy --data DIR --weights FILE --models DIR [--network resnet56] [--macs 0.5
        | --rate 0.5 | --blocks 16] [--round-to 16] [--epochs 6] [--stage-epochs 6]
    python -m benchmarks.int8 train ... (the same, and no more than the training; --device cuda for one
        elsewhere, whose networks `accuracy` finds)
    python -m benchmarks.int8 controls --data DIR --weights FILE --models DIR (of the rows whose networks are
        there and that lack them)
    python -m benchmarks.int8 latency --models DIR (of the rows whose files are there; wants a quiet machine)
    python -m benchmarks.int8 table

The public weights are fine-tuned on the files at hand. Then channels go by reconstruction error, with
refitting, or whole residual blocks, and the fine-tuned network teaches what is left. `benchmarks.stages` says
how networks are trained, and on which samples batch-norm statistics, blocks and layers that stay in float are
chosen; `benchmarks.stage_controls` what they are held against: the dense network and networks of the small
shape with as much training. Networks are kept in a folder, and a training that was broken off goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import prunus
from benchmarks.environment import RESULTS, precision
from benchmarks.int8_table import BEFORE, table
from benchmarks.recipe import USUAL_DECAY
from benchmarks.rows import Row, add, complete, kept, measured_before, record
from benchmarks.stage_controls import add_controls
from benchmarks.stages import (
    DENSE,
    Material,
    add_training,
    dense_of,
    key_of,
    material,
    place,
    stored,
    trained,
    trainings,
)
from prunus import scores
from prunus.compensation import refit
from prunus.deploy import int8, onnx
from prunus.deploy.onnx_accuracy import told_right
from prunus.measure.timing import measure, measure_onnx, speedup
from prunus.methods.block_removal import leave_out
from prunus.surgery.blocks import without_blocks
from prunus.training import Calibration, recalibrate_if_better
from prunus.training.feeding import batches

RESULT = RESULTS / "int8.json"
KEY = tuple(
    (
        "called network target value round_to scope epochs lr evenly stage_epochs stage_lr stage_decay "
        "again_epochs again_lr device seed"
    ).split()
)
CALIBRATION, TOLERANCE = 256, 0.5
JUDGED = 256  # samples on which blocks are judged


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    if options.part == "train":
        about = material(options)
        pruned(options, dense_of(options, about), about)
        return
    result = kept(RESULT)
    if options.part == "accuracy":
        key = key_of(options, KEY)
        if not measured_before(result, key):
            row = key | accuracy(options) | trainings(options, [DENSE, name_of(options)])
            add(RESULT, result, row, record("benchmarks.int8", "onnxruntime", seed=options.seed), "accuracy")
    elif options.part == "controls":
        result = add_controls(RESULT, "benchmarks.int8", options, KEY, small_of, control_figures)
    elif options.part == "latency":
        for row in result["rows"]:
            here = argparse.Namespace(**vars(options) | {name: row[name] for name in (*KEY, "weights")})
            if float_file(here, name_of(here)).exists():
                complete(
                    RESULT,
                    result,
                    row,
                    "latency",
                    latency(here),
                    record("benchmarks.int8", "onnxruntime", seed=row["seed"]),
                )
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("train", "accuracy", "controls", "latency", "table"))
    add_training(parser)
    parser.set_defaults(network="resnet56")
    target = parser.add_mutually_exclusive_group()
    for name in ("macs", "rate", "latency"):
        target.add_argument(f"--{name}", type=float)
    target.add_argument("--blocks", type=int, help="residual blocks that are left out, in place of channels")
    parser.add_argument("--evenly", action="store_true", help="as many blocks of every stage")
    parser.add_argument(
        "--round-to", type=int, default=16, help="ONNX Runtime's 8-bit kernels make 16 channels at a time"
    )
    parser.add_argument("--scope", default="uniform")
    parser.add_argument("--again-epochs", type=int, default=0, help="of what is left, in a second round")
    parser.add_argument("--again-lr", type=float, default=0.03, help="peak learning rate of that")
    options = parser.parse_args()
    given = [
        (name, getattr(options, name))
        for name in ("macs", "rate", "latency", "blocks")
        if getattr(options, name) is not None
    ]
    ((options.target, options.value),) = given or [("macs", 0.5)]
    return options


def accuracy(options: argparse.Namespace) -> Row:
    """Train what is not there yet, write the four files, and measure them."""
    about = material(options)
    calibration = Calibration(about.train, about.normalise, samples=CALIBRATION, seed=options.seed)
    dense = dense_of(options, about)
    small, gone = pruned(options, dense, about)
    found: Row = {
        "samples": [len(about.choosing), len(about.measuring)],
        "blocks_left_out": gone,
        "networks": {},
    }
    for name, network, key in (("dense", dense, DENSE), ("pruned", small, name_of(options))):
        files, search = both_files(options, about, calibration, network, key)
        found["networks"] |= {f"{name} {kind}": one for kind, one in files.items()}
        found["networks"][f"{name} int8"] |= {
            "weight_bytes": search.check.weight_bytes,
            "noise": search.check.noise,
            "kept_float": list(search.check.kept_float),
            "trials": len(search.trials),
        }
        print({kind: round(row["accuracy"], 2) for kind, row in found["networks"].items()}, flush=True)
    return found


def both_files(
    options: argparse.Namespace, about: Material, calibration: Calibration, network: nn.Module, key: str
) -> tuple[dict[str, Row], int8.Int8Search]:
    """The figures of a network's file in float and in 8 bits, and how the second was found."""
    file = float_file(options, key)
    onnx.export(network.eval(), about.example, file)
    search = int8.quantise_within(
        file,
        quantised(file),
        calibration,
        lambda path: 100.0 * told_right(path, about.choosing, about.normalise).double(),
        TOLERANCE,
    )
    shape = {
        "macs": int(prunus.trace(network, about.example).cost().macs),
        "params": sum(one.numel() for one in network.parameters()),
    }
    found: dict[str, Row] = {}
    for kind, path in (("float32", file), ("int8", quantised(file))):
        right, chosen = (
            100.0 * float(told_right(path, some, about.normalise).double().mean())
            for some in (about.measuring, about.choosing)
        )
        found[kind] = shape | {
            "accuracy": right,
            "choosing_accuracy": chosen,
            "bytes": path.stat().st_size,
        }
    return found, search


def control_figures(options: argparse.Namespace, about: Material, name: str, network: nn.Module) -> Row:
    """Of the two files of a control."""
    calibration = Calibration(about.train, about.normalise, samples=CALIBRATION, seed=options.seed)
    return both_files(options, about, calibration, network, name)[0]


def small_of(options: argparse.Namespace, row: Row) -> list[str]:
    """The name of a row's small network, wherever that was trained."""
    return [name_of(argparse.Namespace(**vars(options) | {"device": row["device"]}))]


def pruned(options: argparse.Namespace, dense: nn.Module, about: Material) -> tuple[nn.Module, list[str]]:
    """What is left of it, taught by it, and the names of the blocks that were left out; from its files if
    they are there.
    """
    name, gone = name_of(options), place(options, _goal(options)).with_suffix(".blocks")
    if options.target == "blocks" and not gone.exists():

        def loss(network: nn.Module) -> float:
            return cross_entropy(network, about, options.device)

        shorter = leave_out(dense, about.example, loss, int(options.value), evenly=options.evenly)
        gone.write_text("\n".join(shorter.blocks))
        print(list(zip(shorter.blocks, shorter.losses[1:])), flush=True)
    blocks = gone.read_text().split() if options.target == "blocks" else []
    file = place(options, name)
    if file.exists():
        return stored(options, name), blocks

    def narrower() -> nn.Module:
        inputs, graph = (
            Calibration(about.train, about.normalise, seed=options.seed),
            prunus.trace(dense, about.example),
        )
        goal: dict[str, Any] = {options.target: options.value}
        plan = prunus.plan(
            graph,
            scores.reconstruction(graph, inputs),
            **goal,
            scope=options.scope,
            round_to=options.round_to,
        )
        small = prunus.compact(refit(dense, plan, inputs), plan)
        recalibrate_if_better(small, about.train, about.normalise, about.choosing)
        return small

    if options.again_epochs:
        before = argparse.Namespace(**vars(options) | {"again_epochs": 0})
        second = argparse.Namespace(
            **vars(options) | {"stage_epochs": options.again_epochs, "stage_lr": options.again_lr}
        )
        return trained(second, about, name, lambda: pruned(before, dense, about)[0], dense), blocks
    begun = (lambda: without_blocks(dense, blocks)) if options.target == "blocks" else narrower
    return trained(options, about, name, begun, dense), blocks


def cross_entropy(network: nn.Module, about: Material, device: str) -> float:
    """On some samples, in bfloat16 where that is fast: enough to judge hundreds; moves the network."""
    ((images, labels),) = batches(
        about.choosing.subset(torch.arange(JUDGED)).to(device), about.normalise, JUDGED
    )
    last = torch.channels_last
    halves = precision() == "bfloat16" or device != "cpu"
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=halves):
        logits = network.to(device, memory_format=last)(images.contiguous(memory_format=last))  # type: ignore[call-overload]
    return float(F.cross_entropy(logits.float(), labels))


def latency(options: argparse.Namespace) -> Row:
    """Milliseconds of one image on one thread, the files in turns; and of the dense network in PyTorch."""
    files: dict[str, Any] = {}
    for name, key in (("dense", DENSE), ("pruned", name_of(options))):
        file = float_file(options, key)
        files |= {f"{name} float32": file, f"{name} int8": quantised(file)}
    example = torch.zeros(1, 3, 32, 32)
    times = measure_onnx(files, example, repeats=3000, limit_s=60.0, warm_up=20)
    before = times[BEFORE]
    eager = measure({"dense": stored(options, DENSE)}, example)["dense"]
    found = {
        name: {"median_ms": one.median_ms, "q25_ms": one.q25_ms, "q75_ms": one.q75_ms}
        for name, one in times.items()
    }
    for name, one in times.items():
        found[name]["speedup"] = speedup(before, one).factor
    return {
        "ONNX Runtime": found,
        "PyTorch": {
            "dense float32": {"median_ms": eager.median_ms, "q25_ms": eager.q25_ms, "q75_ms": eager.q75_ms}
        },
    }


def name_of(options: argparse.Namespace) -> str:
    """Of the pruned network; the usual weight decay and the CPU are not said."""
    how = "" if options.target == "blocks" else f"-{options.scope}-{options.round_to}"
    decay = f"-{options.stage_decay:g}" if options.stage_decay != USUAL_DECAY else ""
    again = f"-{options.again_epochs}x{options.again_lr:g}" if options.again_epochs else ""
    device = f"-{options.device}" if options.device != "cpu" else ""
    return f"{_goal(options)}{how}-{options.stage_epochs}x{options.stage_lr:g}{decay}{again}{device}"


def _goal(options: argparse.Namespace) -> str:
    return f"{options.target}{options.value:g}" + ("-evenly" if options.evenly else "")


def float_file(options: argparse.Namespace, key: str) -> Path:
    """The ONNX file of a network in float."""
    return place(options, key).with_suffix(".onnx")


def quantised(file: Path) -> Path:
    """The file beside it in 8 bits."""
    return file.with_suffix(".int8.onnx")


if __name__ == "__main__":
    main()
