"""Pruned and quantised: a pretrained CIFAR-10 network, half of it, and both in 8 bits.

    python -m benchmarks.int8 accuracy --data DIR --weights FILE --models DIR [--network resnet56] [--macs 0.5 | --rate 0.5 | --latency 0.5]
        [--round-to 8] [--epochs 6] [--pruned-epochs 6]
    python -m benchmarks.int8 latency --models DIR (of all rows; wants a quiet machine)
    python -m benchmarks.int8 table

The public weights are fine-tuned on the files at hand, pruned with the default pipeline (reconstruction error, refitting, new batch-norm statistics)
and fine-tuned again. A tenth of the training samples is held out: by them batch-norm statistics and layers in float are chosen. The test samples are
only measured on. Networks are kept in a folder, and a training that was broken off goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prunus
from benchmarks.dynamic import built, tuned
from benchmarks.environment import RESULTS, command, describe, save
from benchmarks.methods_subjects import IMAGENET
from benchmarks.rows import Row, add, heading, kept, measured_before
from prunus import data, scores, storage
from prunus.compensation import refit
from prunus.data import ImageData, Split
from prunus.deploy import int8, onnx
from prunus.deploy.latency import measure, measure_onnx, speedup
from prunus.deploy.onnx_accuracy import told_right
from prunus.models import load_weights
from prunus.training import Calibration, recalibrate_if_better

RESULT = RESULTS / "int8.json"
KEY = ("called", "network", "target", "value", "round_to", "scope", "epochs", "pruned_epochs", "pruned_lr", "seed", "samples")
EXAMPLE = torch.zeros(1, 3, 32, 32)
HELD_OUT, CALIBRATION, TOLERANCE = 0.1, 256, 0.5


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part == "accuracy":
        key = {name: getattr(options, name) for name in KEY} | {"weights": options.weights.name}
        if not measured_before(result, key):
            add(RESULT, result, key | accuracy(options), "benchmarks.int8", "onnxruntime")
    elif options.part == "latency":
        for row in result["rows"]:
            row["latency"] = latency(row, options.models)
        result |= {"command": command("benchmarks.int8"), "environment": describe("onnxruntime")}
        save(RESULT, result)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("accuracy", "latency", "table"))
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument("--called", default="CIFAR-10", help="what the table calls the data, for files that are not the originals")
    parser.add_argument("--weights", type=Path, help="of the network")
    parser.add_argument("--models", type=Path, help="folder that the networks are kept in")
    parser.add_argument("--network", default="resnet56")
    target = parser.add_mutually_exclusive_group()
    for name in ("macs", "rate", "latency"):
        target.add_argument(f"--{name}", type=float)
    parser.add_argument("--round-to", type=int, default=8, help="ONNX Runtime's 8-bit kernels make 16 channels at a time")
    parser.add_argument("--scope", default="uniform")
    parser.add_argument("--epochs", type=int, default=6, help="of fine-tuning the public weights")
    parser.add_argument("--pruned-epochs", type=int, default=6, help="of fine-tuning what is left")
    parser.add_argument("--pruned-lr", type=float, default=0.05, help="peak learning rate of these")
    parser.add_argument("--samples", type=int, help="of each split, for a quick trial")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    given = [(name, getattr(options, name)) for name in ("macs", "rate", "latency") if getattr(options, name) is not None]
    ((options.target, options.value),) = given or [("macs", 0.5)]
    return options


def accuracy(options: argparse.Namespace) -> Row:
    """Train what is not there yet, write the four files, and measure them on the test samples."""
    images = shortened(data.load("cifar10", options.data), options.samples)
    train, held = images.hold_out(HELD_OUT, options.seed)
    calibration = Calibration(train, IMAGENET, samples=CALIBRATION, seed=options.seed)
    found: Row = {"held_out": len(held), "test": len(images.test), "networks": {}}
    dense = fine_tuned(options, replace(images, train=train))
    networks = {"dense": dense, "pruned": pruned(options, dense, replace(images, train=train), held)}
    for name, network in networks.items():
        file = place(options.models, key_of(vars(options)), name)
        onnx.export(network.eval(), EXAMPLE, file)
        search = int8.quantise_within(
            file, quantised(file), calibration, lambda path: 100.0 * told_right(path, held, IMAGENET).double(), TOLERANCE
        )  # fmt: skip
        shape = {"macs": int(prunus.trace(network, EXAMPLE).cost().macs), "params": sum(one.numel() for one in network.parameters())}
        for kind, path in (("float32", file), ("int8", quantised(file))):
            right = 100.0 * float(told_right(path, images.test, IMAGENET).double().mean())
            found["networks"][f"{name} {kind}"] = shape | {"accuracy": right, "bytes": path.stat().st_size}
        found["networks"][f"{name} int8"] |= {
            "weight_bytes": search.check.weight_bytes,
            "noise": search.check.noise,
            "kept_float": list(search.check.kept_float),
            "trials": len(search.trials),
        }
        print({kind: round(row["accuracy"], 2) for kind, row in found["networks"].items()}, flush=True)
    return found


def fine_tuned(options: argparse.Namespace, images: ImageData) -> nn.Module:
    """The public weights after some epochs on the files at hand."""
    torch.manual_seed(options.seed)
    dense = built(options.network)
    load_weights(dense, options.weights)
    return tuned(dense, images, options, dense_name(vars(options)), options.epochs, 0.01)


def pruned(options: argparse.Namespace, dense: nn.Module, images: ImageData, held: Split) -> nn.Module:
    """What is left of it, refitted, recalibrated and fine-tuned; from its file if it is there."""
    name, file = key_of(vars(options)), stored(options.models, options.network, key_of(vars(options)))
    if file.exists():
        return storage.load(file, lambda: built(options.network)).eval()
    inputs, graph = Calibration(images.train, IMAGENET, seed=options.seed), prunus.trace(dense, EXAMPLE)
    goal: dict[str, Any] = {options.target: options.value}
    plan = prunus.plan(graph, scores.reconstruction(graph, inputs), **goal, scope=options.scope, round_to=options.round_to)
    small = prunus.compact(refit(dense, plan, inputs), plan)
    recalibrate_if_better(small, images.train, IMAGENET, held)
    return tuned(small, images, options, name, options.pruned_epochs, options.pruned_lr)


def latency(row: Row, folder: Path) -> Row:
    """Milliseconds of one image on one thread, the files in turns; and of the dense network in PyTorch."""
    files = {}
    for name in ("dense", "pruned"):
        file = place(folder, key_of(row), name)
        files |= {f"{name} float32": file, f"{name} int8": quantised(file)}
    times = measure_onnx(files, EXAMPLE, repeats=300, limit_s=60.0, warm_up=20)
    before = times["dense float32"]
    dense = storage.load(stored(folder, row["network"], dense_name(row)), lambda: built(row["network"])).eval()
    eager = measure({"dense": dense}, EXAMPLE)["dense"]
    found = {name: {"median_ms": one.median_ms, "q25_ms": one.q25_ms, "q75_ms": one.q75_ms} for name, one in times.items()}
    for name, one in times.items():
        found[name]["speedup"] = speedup(before, one).factor
    return {"ONNX Runtime": found, "PyTorch": {"dense float32": {"median_ms": eager.median_ms, "q25_ms": eager.q25_ms, "q75_ms": eager.q75_ms}}}


def shortened(images: ImageData, samples: int | None) -> ImageData:
    """The first samples of each split."""
    if samples is None:
        return images
    return replace(images, train=images.train.subset(torch.arange(samples)), test=images.test.subset(torch.arange(samples)))


def dense_name(row: Row) -> str:
    """Of the fine-tuned network: it is the same for all targets."""
    return f"tuned-{row['epochs']}-{row['samples'] or 'all'}-{row['seed']}"


def key_of(row: Row) -> str:
    """A name for what a row measures."""
    return (
        f"{row['target']}{row['value']:g}-{row['scope']}-{row['round_to']}-{row['pruned_epochs']}x{row['pruned_lr']:g}-{dense_name(row)}"
    )  # fmt: skip


def stored(folder: Path, network: str, name: str) -> Path:
    """The file of a trained network."""
    from benchmarks.dynamic import place as of_stage

    return of_stage(folder, network, name)


def place(folder: Path, key: str, name: str) -> Path:
    """The ONNX file of a network in float."""
    return folder / f"{name}-{key}.onnx"


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
        "Public weights, fine-tuned on the files at hand; pruned by reconstruction error with refitting, and fine-tuned again. Accuracies of the",
        "test samples, by which nothing was chosen; sizes of ONNX files; latency of one image on one thread of ONNX Runtime, files in turns.",
    )
    for row in result["rows"]:
        lines += ["", *_section(row)]
    return "\n".join(lines) + "\n"


def _section(row: Row) -> list[str]:
    dense, times = row["networks"]["dense float32"], row.get("latency", {}).get("ONNX Runtime", {})
    lines = [
        f"## {row['called']}, {row['network']} ({row['weights']}): {row['target']} {row['value']:g}, widths in multiples of {row['round_to']}",
        "",
        f"{row['scope'].capitalize()}, {row['epochs']} epochs of fine-tuning and {row['pruned_epochs']} after pruning, seed {row['seed']}, "
        f"{row['test']:,} test samples" + (", **a trial on a few samples**." if row["samples"] else "."),
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


if __name__ == "__main__":
    main()
