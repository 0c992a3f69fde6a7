"""Pruned and quantised: a pretrained CIFAR-10 network, what is left of it, and both in 8 bits.

    python -m benchmarks.int8 accuracy --data DIR --weights FILE --models DIR [--network resnet56] [--macs 0.5 | --rate 0.5 | --blocks 16]
        [--round-to 16] [--epochs 6] [--stage-epochs 6]
    python -m benchmarks.int8 latency --models DIR (of the rows whose files are there; wants a quiet machine)
    python -m benchmarks.int8 table

The public weights are fine-tuned on the files at hand. Then channels go by reconstruction error, with refitting, or whole residual blocks, and the
fine-tuned network teaches what is left. `benchmarks.stages` says how networks are trained, and on which samples batch-norm statistics, blocks and
layers that stay in float are chosen. Networks are kept in a folder, and a training that was broken off goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import prunus
from benchmarks.environment import RESULTS, command, describe, save
from benchmarks.recipe import USUAL_DECAY
from benchmarks.rows import Row, add, heading, kept, measured_before
from benchmarks.stages import DENSE, Material, add_training, dense_of, key_of, material, place, stored, trained
from prunus import scores
from prunus.channels.blocks import without_blocks
from prunus.compensation import refit
from prunus.deploy import int8, onnx
from prunus.deploy.latency import measure, measure_onnx, speedup
from prunus.deploy.onnx_accuracy import told_right
from prunus.methods.fewer_blocks import leave_out
from prunus.training import Calibration, recalibrate_if_better
from prunus.training.feeding import batches

RESULT = RESULTS / "int8.json"
KEY = (
    "called",
    "network",
    "target",
    "value",
    "round_to",
    "scope",
    "epochs",
    "lr",
    "evenly",
    "stage_epochs",
    "stage_lr",
    "stage_decay",
    "again_epochs",
    "again_lr",
    "seed",
)
CALIBRATION, TOLERANCE = 256, 0.5
JUDGED = 256  # samples on which blocks are judged


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part == "accuracy":
        key = key_of(options, KEY)
        if not measured_before(result, key):
            add(RESULT, result, key | accuracy(options), "benchmarks.int8", "onnxruntime")
    elif options.part == "latency":
        for row in result["rows"]:
            here = argparse.Namespace(**vars(options) | {name: row[name] for name in (*KEY, "weights")})
            if float_file(here, name_of(here)).exists():
                row["latency"] = latency(here)
        result |= {"command": command("benchmarks.int8"), "environment": describe("onnxruntime")}
        save(RESULT, result)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("accuracy", "latency", "table"))
    add_training(parser)
    parser.set_defaults(network="resnet56")
    target = parser.add_mutually_exclusive_group()
    for name in ("macs", "rate", "latency"):
        target.add_argument(f"--{name}", type=float)
    target.add_argument("--blocks", type=int, help="residual blocks that are left out, in place of channels")
    parser.add_argument("--evenly", action="store_true", help="as many blocks of every stage")
    parser.add_argument("--round-to", type=int, default=16, help="ONNX Runtime's 8-bit kernels make 16 channels at a time")
    parser.add_argument("--scope", default="uniform")
    parser.add_argument("--again-epochs", type=int, default=0, help="of what is left, in a second round")
    parser.add_argument("--again-lr", type=float, default=0.03, help="peak learning rate of that")
    options = parser.parse_args()
    given = [(name, getattr(options, name)) for name in ("macs", "rate", "latency", "blocks") if getattr(options, name) is not None]
    ((options.target, options.value),) = given or [("macs", 0.5)]
    return options


def accuracy(options: argparse.Namespace) -> Row:
    """Train what is not there yet, write the four files, and measure them."""
    about = material(options)
    calibration = Calibration(about.train, about.normalise, samples=CALIBRATION, seed=options.seed)
    dense = dense_of(options, about)
    small, gone = pruned(options, dense, about)
    found: Row = {"samples": [len(about.choosing), len(about.measuring)], "blocks_left_out": gone, "networks": {}}
    for name, network, key in (("dense", dense, DENSE), ("pruned", small, name_of(options))):
        file = float_file(options, key)
        onnx.export(network.eval(), about.example, file)
        search = int8.quantise_within(
            file, quantised(file), calibration, lambda path: 100.0 * told_right(path, about.choosing, about.normalise).double(), TOLERANCE
        )  # fmt: skip
        shape = {"macs": int(prunus.trace(network, about.example).cost().macs), "params": sum(one.numel() for one in network.parameters())}
        for kind, path in (("float32", file), ("int8", quantised(file))):
            right = 100.0 * float(told_right(path, about.measuring, about.normalise).double().mean())
            found["networks"][f"{name} {kind}"] = shape | {"accuracy": right, "bytes": path.stat().st_size}
        found["networks"][f"{name} int8"] |= {
            "weight_bytes": search.check.weight_bytes,
            "noise": search.check.noise,
            "kept_float": list(search.check.kept_float),
            "trials": len(search.trials),
        }
        print({kind: round(row["accuracy"], 2) for kind, row in found["networks"].items()}, flush=True)
    return found


def pruned(options: argparse.Namespace, dense: nn.Module, about: Material) -> tuple[nn.Module, list[str]]:
    """What is left of it, taught by it, and the names of the blocks that were left out; from its files if they are there."""
    name, gone = name_of(options), place(options, _goal(options)).with_suffix(".blocks")
    if options.target == "blocks" and not gone.exists():
        shorter = leave_out(dense, about.example, lambda network: cross_entropy(network, about), int(options.value), evenly=options.evenly)
        gone.write_text("\n".join(shorter.blocks))
        print(list(zip(shorter.blocks, shorter.losses[1:])), flush=True)
    blocks = gone.read_text().split() if options.target == "blocks" else []
    file = place(options, name)
    if file.exists():
        return stored(options, name), blocks

    def narrower() -> nn.Module:
        inputs, graph = Calibration(about.train, about.normalise, seed=options.seed), prunus.trace(dense, about.example)
        goal: dict[str, Any] = {options.target: options.value}
        plan = prunus.plan(graph, scores.reconstruction(graph, inputs), **goal, scope=options.scope, round_to=options.round_to)
        small = prunus.compact(refit(dense, plan, inputs), plan)
        recalibrate_if_better(small, about.train, about.normalise, about.choosing)
        return small

    if options.again_epochs:
        before = argparse.Namespace(**vars(options) | {"again_epochs": 0})
        second = argparse.Namespace(**vars(options) | {"stage_epochs": options.again_epochs, "stage_lr": options.again_lr})
        return trained(second, about, name, lambda: pruned(before, dense, about)[0], dense), blocks
    begun = (lambda: without_blocks(dense, blocks)) if options.target == "blocks" else narrower
    return trained(options, about, name, begun, dense), blocks


def cross_entropy(network: nn.Module, about: Material) -> float:
    """On some samples, in bfloat16, which is fast enough to judge hundreds of networks."""
    ((images, labels),) = batches(about.choosing.subset(torch.arange(JUDGED)), about.normalise, JUDGED)
    last = torch.channels_last
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.to(memory_format=last)(images.contiguous(memory_format=last))  # type: ignore[call-overload]
    return float(F.cross_entropy(logits.float(), labels))


def latency(options: argparse.Namespace) -> Row:
    """Milliseconds of one image on one thread, the files in turns; and of the dense network in PyTorch."""
    files = {}
    for name, key in (("dense", DENSE), ("pruned", name_of(options))):
        file = float_file(options, key)
        files |= {f"{name} float32": file, f"{name} int8": quantised(file)}
    example = torch.zeros(1, 3, 32, 32)
    times = measure_onnx(files, example, repeats=300, limit_s=60.0, warm_up=20)
    before = times["dense float32"]
    eager = measure({"dense": stored(options, DENSE)}, example)["dense"]
    found = {name: {"median_ms": one.median_ms, "q25_ms": one.q25_ms, "q75_ms": one.q75_ms} for name, one in times.items()}
    for name, one in times.items():
        found[name]["speedup"] = speedup(before, one).factor
    return {"ONNX Runtime": found, "PyTorch": {"dense float32": {"median_ms": eager.median_ms, "q25_ms": eager.q25_ms, "q75_ms": eager.q75_ms}}}


def name_of(options: argparse.Namespace) -> str:
    """Of the pruned network; the usual weight decay is not said."""
    how = "" if options.target == "blocks" else f"-{options.scope}-{options.round_to}"
    decay = f"-{options.stage_decay:g}" if options.stage_decay != USUAL_DECAY else ""
    again = f"-{options.again_epochs}x{options.again_lr:g}" if options.again_epochs else ""
    return f"{_goal(options)}{how}-{options.stage_epochs}x{options.stage_lr:g}{decay}{again}"


def _goal(options: argparse.Namespace) -> str:
    return f"{options.target}{options.value:g}" + ("-evenly" if options.evenly else "")


def float_file(options: argparse.Namespace, key: str) -> Path:
    """The ONNX file of a network in float."""
    return place(options, key).with_suffix(".onnx")


def quantised(file: Path) -> Path:
    """The file beside it in 8 bits."""
    return file.with_suffix(".int8.onnx")


def table(result: Row) -> str:
    """One section per row, one line per file."""
    if not result["rows"]:
        return "# Pruned and quantised\n\nNothing has been measured yet.\n"
    lines = heading(
        "Pruned and quantised",
        result,
        result["environment"]["processor"] + ", " + ", ".join(result["environment"]["vector_units"]) + ".",
        "",
        "Public weights, fine-tuned on the files at hand. Channels go by reconstruction error, with refitting; blocks, one by one, where the",
        "loss rises least. The dense network teaches what is left. Batch-norm statistics, blocks and layers in float are chosen on one part of the",
        "samples, accuracies are of another; sizes of ONNX files; latency of one image on one thread of ONNX Runtime, files in turns.",
    )
    for row in result["rows"]:
        lines += ["", *_section(row)]
    return "\n".join(lines) + "\n"


def _section(row: Row) -> list[str]:
    dense, times = row["networks"]["dense float32"], row.get("latency", {}).get("ONNX Runtime", {})
    lines = [
        f"## {row['called']}, {row['network']} ({row['weights']}): {_what(row)}",
        "",
        f"Epochs of fine-tuning: {row['epochs']}, after pruning: {_epochs(row)}, seed {row['seed']}; chosen on {row['samples'][0]:,} samples, "
        f"measured on {row['samples'][1]:,}." + (f" {row['about']}" if "about" in row else ""),
        "",
        "| file | accuracy | against dense | MACs | parameters | bytes | smaller | layers in float | p50 [ms] | faster |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in row["networks"].items():
        timed = times.get(name)
        speed = f"{timed['median_ms']:.2f} | {timed['speedup']:.2f} |" if timed else " | |"
        in_float = f"{len(one['kept_float'])}" if "kept_float" in one else "all"
        lines.append(
            f"| {name} | {one['accuracy']:.2f} | {one['accuracy'] - dense['accuracy']:+.2f} | {one['macs'] / dense['macs']:.0%} | "
            f"{one['params'] / dense['params']:.0%} | {one['bytes']:,} | {dense['bytes'] / one['bytes']:.1f} | {in_float} | {speed}"
        )
    if times:
        eager = row["latency"]["PyTorch"]["dense float32"]["median_ms"]
        lines += ["", f"The dense network in PyTorch takes {eager:.2f} ms, {eager / times['pruned int8']['median_ms']:.1f} times the last."]
    return lines


def _epochs(row: Row) -> str:
    return f"{row['stage_epochs']}" + (f" and {row['again_epochs']}" if row["again_epochs"] else "")


def _what(row: Row) -> str:
    if row["target"] == "blocks":
        return f"{row['value']:g} residual blocks left out" + (", evenly" if row["evenly"] else "")
    return f"{row['target']} {row['value']:g}, {row['scope']}, widths in multiples of {row['round_to']}"


if __name__ == "__main__":
    main()
