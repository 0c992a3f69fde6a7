"""Cascades on CIFAR-10 and MNIST: accuracy and work against the dense network and a static one of as much
work, and latency input by input.

    python -m benchmarks.dynamic accuracy --data DIR [--weights FILE] --models DIR [--network resnet20]
        [--epochs 6] [--stages 0.25 0.5]
    python -m benchmarks.dynamic train --stages 0.25 … (beforehand, one stage of several at a time)
    python -m benchmarks.dynamic controls --data DIR [--weights FILE] --models DIR
    python -m benchmarks.dynamic latency --data DIR --models DIR
    python -m benchmarks.dynamic large

`benchmarks.stages` says how networks are trained, and on which samples thresholds are found. `controls`
(`benchmarks.stage_controls`) are for all rows that lack them and whose networks are in the folder. `latency`
measures the cascades of all rows whose networks are in the folder, and `large` a ResNet-18 at 224 pixels with
random weights, half of whose channels are computed; both want a quiet machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import prunus
from benchmarks.dynamic_table import table
from benchmarks.environment import RESULTS, save
from benchmarks.rows import Row, add, complete, kept, measured_before, record, signed
from benchmarks.stage_controls import accuracy as control_accuracy
from benchmarks.stage_controls import add_controls
from benchmarks.stages import (
    DENSE,
    add_training,
    key_of,
    material,
    place,
    stages_of,
    stored,
    timed_on,
    trainings,
)
from prunus import models, scores
from prunus.deploy.onnx import export
from prunus.deploy.onnx_file import runner
from prunus.dynamic import Answers, Cascade, DynamicNetwork, attach, export_cascade, export_gated, skipping
from prunus.measure.per_input import over_inputs
from prunus.training.feeding import batches

RESULT = RESULTS / "dynamic.json"
KEY = ("called", "network", "epochs", "lr", "stage_epochs", "stage_lr", "seed")
BUDGETS, TOLERANCES = (0.35, 0.5), (0.5,)
HALF = 1e9  # strict enough for the narrowest width


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part == "train":
        stages_of(options, material(options), options.stages)
        return
    if options.part == "accuracy":
        key = key_of(options, KEY)
        if not measured_before(result, key):
            row = key | accuracy(options)
            row |= trainings(options, row["stages"])
            add(RESULT, result, row, record("benchmarks.dynamic", "numpy", seed=options.seed), "accuracy")
    elif options.part == "controls":
        result = add_controls(
            RESULT, "benchmarks.dynamic", options, KEY, lambda here, row: row["stages"][:-1], control_accuracy
        )
    elif options.part != "table":
        if options.part == "latency":
            for row in result["rows"]:
                here = argparse.Namespace(**vars(options) | {name: row[name] for name in (*KEY, "weights")})
                if place(here, "1").exists():
                    how = record("benchmarks.dynamic", "onnxruntime", seed=row["seed"])
                    complete(RESULT, result, row, "latency", latency(row, here), how)
        else:
            result["large"] = signed(large(), record("benchmarks.dynamic", "onnxruntime", seed=0), "latency")
            save(RESULT, result)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("train", "accuracy", "controls", "latency", "large", "table"))
    add_training(parser)
    help_text = (
        "shares of the MACs that stages are pruned to, 0.5 is also static; or names of what other benchmarks"
        " left in the folder"
    )
    parser.add_argument("--stages", nargs="*", default=["0.25", "0.5"], help=help_text)
    return parser.parse_args()


def accuracy(options: argparse.Namespace) -> Row:
    """Train all stages, find thresholds, and measure."""
    about, stages = material(options), [*options.stages, DENSE]
    whole = Cascade(stages_of(options, about, options.stages), about.example)
    held, test = (
        whole.ask(batches(part, about.normalise, 250)) for part in (about.choosing, about.measuring)
    )
    alone = dict(zip(stages, test.alone()))
    rows = []
    for picked in {(0, len(stages) - 1): None, tuple(range(len(stages))): None}:
        reached = [budget for budget in BUDGETS if budget >= whole.macs[0] / whole.macs[-1]]
        for what, value in [("budget", budget) for budget in reached] + [
            ("tolerance", points) for points in TOLERANCES
        ]:
            some, others = among(held, picked), among(test, picked)
            threshold = some.at(value) if what == "budget" else some.within(value)
            rows.append(
                {"stages": [stages[number] for number in picked], what: value, "threshold": threshold}
                | measured(others, threshold)
            )
    samples = [len(about.choosing), len(about.measuring)]
    return {"stages": stages, "macs": list(whole.macs), "samples": samples, "alone": alone, "cascades": rows}


def measured(found: Answers, threshold: float) -> Row:
    """Accuracy and work on samples that the threshold was not found on."""
    return {
        "accuracy": float(found.points(threshold).mean()),
        "cost": float(found.cost(threshold).mean()),
        "answered": found.answered(threshold),
    }


def among(found: Answers, picked: tuple[int, ...]) -> Answers:
    """The answers of a cascade of some of the stages."""
    return Answers(
        found.sure[:, picked], found.right[:, picked], tuple(found.macs[number] for number in picked)
    )


def latency(row: Row, options: argparse.Namespace) -> list[Row]:
    """Milliseconds of the dense network and of every cascade of a row, input by input in turns."""
    about = material(options)
    found = {name: stored(options, name) for name in row["stages"]}
    inputs, together = timed_on(about, options.inputs)
    networks = {"dense": found[DENSE]} | {f"static {name}": found[name] for name in found if name != DENSE}
    for number, one in enumerate(row["cascades"]):
        cascade = Cascade([found[name] for name in one["stages"]], inputs[0])
        cascade.threshold = one["threshold"]
        networks[f"cascade {number}"] = cascade
    return [*timed(networks, inputs), *timed(networks, together)]


def timed(networks: dict[str, nn.Module], inputs: list[Tensor]) -> list[Row]:
    """Percentiles per runtime and network; what has gates, in PyTorch also as it is trained: all channels
    computed, and then masked.
    """
    found = []
    in_torch: dict[str, nn.Module] = {}
    for name, network in networks.items():
        if isinstance(network, DynamicNetwork):
            in_torch |= {name: skipping(network, inputs[0]), f"{name}, masked": network}
        else:
            in_torch[name] = network
    with torch.inference_mode():
        for name, times in over_inputs(
            {name: network.eval() for name, network in in_torch.items()}, inputs
        ).items():
            found.append(
                {"runtime": "PyTorch", "batch": len(inputs[0]), "network": name} | percentiles(times)
            )
    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: one
            for name, one in networks.items()
            if len(inputs[0]) == 1 or not isinstance(one, DynamicNetwork)
        }
        runs = {
            name: exported(network, inputs[:8], Path(folder) / f"{name}.onnx")
            for name, network in files.items()
        }
        for name, times in over_inputs(runs, inputs).items():
            found.append(
                {"runtime": "ONNX Runtime", "batch": len(inputs[0]), "network": name} | percentiles(times)
            )
    return found


def exported(network: nn.Module, inputs: list[Tensor], file: Path) -> Any:
    """A network's ONNX file as a function."""
    match network:
        case Cascade():
            export_cascade(network, torch.cat(inputs), file, dynamic_batch=len(inputs[0]) > 1)
        case DynamicNetwork():
            export_gated(network, torch.cat(inputs[:2]), file)
        case _:
            export(network, inputs[0], file)
    return runner(file)


def percentiles(times: Tensor) -> dict[str, float]:
    """Of milliseconds per input."""
    return {
        "p50": float(times.quantile(0.5)),
        "p95": float(times.quantile(0.95)),
        "mean": float(times.mean()),
    }


def large() -> Row:
    """A ResNet-18 at 224 pixels with half of the channels of every layer: as the stage of a cascade that
    answers, and chosen by gates.
    """
    from tests.torchvision_shim import missing

    if reason := missing("torchvision"):
        raise SystemExit(reason)
    torch.manual_seed(0)
    dense = models.build("torchvision/resnet18").eval()
    inputs = list(torch.randn(40, 1, 3, 224, 224))
    graph = prunus.trace(dense, inputs[0])
    cascade = Cascade(
        [prunus.compact(dense, prunus.plan(graph, scores.norm(graph), rate=0.5)), dense], inputs[0]
    )
    cascade.threshold = 0.0  # the first stage answers all
    networks: dict[str, nn.Module] = {"dense": dense, "half of the channels, in a cascade": cascade}
    for layers, where in ((["layer*", "conv1"], "everywhere"), ("auto", "inside blocks")):
        for block in (0, 1, 16):
            network = gated(dense, inputs[0], layers, block)
            share = float(network.macs(network.openings(torch.cat(inputs))).mean()) / network.dense_macs
            how = f"channels in blocks of {block}" if block else "one of two widths"
            networks[f"gates {where}, {how}, {share:.0%} of the MACs"] = network
    return {"macs": list(cascade.macs), "latency": timed(networks, inputs)}


def gated(dense: nn.Module, example: Tensor, layers: Any, block: int) -> DynamicNetwork:
    """With gates that open another half of the channels, more or less, for every input; or, where `block` is
    0, the narrower of two widths.
    """
    if not block:
        network = attach(dense, example, layers, "widths", widths=(0.5, 1.0)).eval()
        network.tighten(HALF)
        return network
    network = attach(dense, example, layers, "activation", block=block).eval()
    for gate in network.gates.values():
        nn.init.normal_(gate.last.weight)
        nn.init.zeros_(gate.last.bias)
    return network


if __name__ == "__main__":
    main()
