"""Cascades on CIFAR-10: accuracy and work against the dense network and a static one of as much work, and latency input by input.

    python -m benchmarks.dynamic accuracy --data DIR --weights FILE --models DIR [--network resnet20] [--epochs 6] [--stages 0.25 0.5]
    python -m benchmarks.dynamic train --share 0.25 … (beforehand, one stage of several at a time)
    python -m benchmarks.dynamic latency --data DIR --models DIR
    python -m benchmarks.dynamic large

The public weights are fine-tuned; that network is pruned to each share of its MACs, and teaches what is left. Public weights have seen all training
samples, so thresholds are found on a drawn half of the test samples, and every figure is of the other half. `latency` measures the
cascades of all rows, and `large` a ResNet-18 at 224 pixels with random weights, half of whose channels are computed; both want a quiet machine.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from benchmarks.dynamic_table import table
from benchmarks.environment import RESULTS, command, describe, save
from benchmarks.methods_subjects import IMAGENET
from benchmarks.recipe import settings
from benchmarks.rows import Row, add, kept, measured_before
from prunus import data, models, scores, storage
from prunus.compensation import refit
from prunus.data import ImageData, Split
from prunus.deploy.onnx import export, runner
from prunus.deploy.per_input import over_inputs
from prunus.dynamic import Answers, Cascade, DynamicNetwork, attach, export_cascade, export_gated, skipping
from prunus.models import load_weights
from prunus.training import Calibration, train
from prunus.training.feeding import batches
from prunus.training.progress import EpochRecord

RESULT = RESULTS / "dynamic.json"
KEY = ("called", "network", "weights", "epochs", "stage_epochs", "stage_lr", "seed")
BUDGETS, TOLERANCES = (0.35, 0.5), (0.5,)
INPUTS = 500  # that latency is measured on, one by one
CLASSES = 10


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    result = kept(RESULT)
    if options.part == "train":
        stages_of(options, data.load("cifar10", options.data), [options.share, 1.0])
        return
    if options.part == "accuracy":
        key = {name: getattr(options, name) for name in KEY} | {"weights": options.weights.name}
        if not measured_before(result, key):
            add(RESULT, result, key | accuracy(options), "benchmarks.dynamic", "numpy")
    elif options.part != "table":
        if options.part == "latency":
            for row in result["rows"]:
                row["latency"] = latency(row, options)
        else:
            result["large"] = large()
        result |= {"command": command("benchmarks.dynamic"), "environment": describe("onnxruntime")}
        save(RESULT, result)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("train", "accuracy", "latency", "large", "table"))
    add_training(parser)
    parser.add_argument("--share", type=float, help="only train the stage of this share, for `accuracy` to find")
    parser.add_argument(
        "--stages", type=float, nargs="+", default=[0.25, 0.5], help="shares of the MACs that stages are pruned to; 0.5 is also static"
    )
    return parser.parse_args()


def add_training(parser: argparse.ArgumentParser) -> None:
    """Options of what is trained, and how."""
    parser.add_argument("--data", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument("--called", default="CIFAR-10", help="what the table calls the data, for files that are not the originals")
    parser.add_argument("--weights", type=Path, help="of the network")
    parser.add_argument("--models", type=Path, help="folder that the networks are kept in")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--epochs", type=int, default=6, help="of fine-tuning")
    parser.add_argument("--stage-epochs", type=int, default=12, help="of what the fine-tuned network teaches")
    parser.add_argument("--stage-lr", type=float, default=0.05, help="peak learning rate of these")
    parser.add_argument("--seed", type=int, default=0)


def accuracy(options: argparse.Namespace) -> Row:
    """Train all stages, find thresholds, and measure."""
    images = data.load("cifar10", options.data)
    shares = [*options.stages, 1.0]
    found = stages_of(options, images, shares)
    choosing, measuring = halves(images.test, options.seed)
    whole = Cascade(found, torch.zeros(1, 3, 32, 32))
    held, test = (whole.ask(batches(part, IMAGENET, 250)) for part in (choosing, measuring))
    alone = {f"{share:g}": points for share, points in zip(shares, test.alone())}
    rows = []
    for picked in ([0, len(shares) - 1], list(range(len(shares)))):
        for what, value in [("budget", budget) for budget in BUDGETS] + [("tolerance", points) for points in TOLERANCES]:
            some, others = among(held, picked), among(test, picked)
            threshold = some.at(value) if what == "budget" else some.within(value)
            rows.append({"stages": [shares[number] for number in picked], what: value, "threshold": threshold} | measured(others, threshold))
    return {"shares": shares, "macs": list(whole.macs), "samples": [len(choosing), len(measuring)], "alone": alone, "cascades": rows}


def measured(found: Answers, threshold: float) -> Row:
    """Accuracy and work on samples that the threshold was not found on."""
    return {
        "accuracy": float(found.points(threshold).mean()),
        "cost": float(found.cost(threshold).mean()),
        "answered": found.answered(threshold),
    }


def among(found: Answers, picked: list[int]) -> Answers:
    """The answers of a cascade of some of the stages."""
    return Answers(found.sure[:, picked], found.right[:, picked], tuple(found.macs[number] for number in picked))


def halves(split: Split, seed: int) -> tuple[Split, Split]:
    """To find thresholds on, and to measure on."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    return split.subset(order[: len(split) // 2]), split.subset(order[len(split) // 2 :])


def stages_of(options: argparse.Namespace, images: ImageData, shares: list[float]) -> list[nn.Module]:
    """The fine-tuned network, and what it is pruned to; from their files if they are there."""
    torch.manual_seed(options.seed)
    dense = built(options.network)
    load_weights(dense, options.weights)
    dense = tuned(dense, images, options, "1", options.epochs, 0.01)
    graph, inputs = prunus.trace(dense, torch.zeros(1, 3, 32, 32)), Calibration(images.train, IMAGENET, seed=options.seed)
    found, worth = [], scores.reconstruction(graph, inputs)
    for share in shares[:-1]:
        plan = prunus.plan(graph, worth, macs=share, round_to=8)
        small = prunus.compact(refit(dense, plan, inputs), plan)
        found.append(tuned(small, images, options, f"{share:g}", options.stage_epochs, options.stage_lr, teacher=dense))
    return [*found, dense]


def tuned(
    network: nn.Module, images: ImageData, options: argparse.Namespace, name: str, epochs: int, lr: float, teacher: nn.Module | None = None
) -> nn.Module:
    """Fine-tuned and kept in a file; a training that was broken off goes on."""
    file = place(options.models, options.network, name)
    if file.exists():
        return storage.load(file, lambda: built(options.network)).eval()
    file.parent.mkdir(parents=True, exist_ok=True)
    network = copy.deepcopy(network)

    def told(record: EpochRecord) -> None:
        print(f"{name}: epoch {record.epoch}, loss {record.loss:.3f}", flush=True)

    train(
        Taught(network, teacher) if teacher else network, images.train, settings(epochs, lr, options.seed), normalise=IMAGENET,
        loss=taught if teacher else None,
        checkpoint=file.with_suffix(".checkpoint"), resume=True, on_epoch=told,
    )  # fmt: skip
    storage.save(network.eval(), file)
    return network


class Taught(nn.Module):
    """A network beside its teacher, so that a loss sees what both say about the same augmented images."""

    def __init__(self, network: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.network, self.teacher = network, copy.deepcopy(teacher).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of both, (batch, 2, classes)."""
        return torch.stack([self.network(x), self.teacher.eval()(x)], 1)


def taught(outputs: Tensor, labels: Tensor) -> Tensor:
    """Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), temperature 4, nine parts in ten from the teacher."""
    own, other = outputs.float().unbind(1)
    soft = F.kl_div(F.log_softmax(own / 4, 1), F.softmax(other / 4, 1), reduction="batchmean") * 16
    return 0.9 * soft + 0.1 * F.cross_entropy(own, labels)


def built(name: str) -> nn.Module:
    """With random weights."""
    return models.build(name, num_classes=CLASSES)


def place(folder: Path, network: str, name: str) -> Path:
    """The file of a stage."""
    return folder / f"{network}-{name}.safetensors"


def latency(row: Row, options: argparse.Namespace) -> list[Row]:
    """Milliseconds of the dense network and of every cascade of a row, input by input in turns."""
    _, measuring = halves(data.load("cifar10", options.data).test, row["seed"])
    found = [storage.load(place(options.models, row["network"], f"{share:g}"), lambda: built(row["network"])).eval() for share in row["shares"]]
    inputs = [images for images, _ in batches(measuring.subset(torch.arange(INPUTS)), IMAGENET, 1)]
    together = [images for images, _ in batches(measuring.subset(torch.arange(32 * 20)), IMAGENET, 32)]
    networks: dict[str, nn.Module] = {"dense": found[-1]}
    if 0.5 in row["shares"]:
        networks["static 0.5"] = found[row["shares"].index(0.5)]
    for number, one in enumerate(row["cascades"]):
        cascade = Cascade([found[row["shares"].index(share)] for share in one["stages"]], inputs[0])
        cascade.threshold = one["threshold"]
        networks[f"cascade {number}"] = cascade
    return [*timed(networks, inputs), *timed(networks, together, onnx=False)]


def timed(networks: dict[str, nn.Module], inputs: list[Tensor], onnx: bool = True) -> list[Row]:
    """Percentiles per runtime and network."""
    found = []
    in_torch = {name: skipping(one, inputs[0]) if isinstance(one, DynamicNetwork) else one for name, one in networks.items()}
    with torch.inference_mode():
        for name, times in over_inputs({name: network.eval() for name, network in in_torch.items()}, inputs).items():
            found.append({"runtime": "PyTorch", "batch": len(inputs[0]), "network": name} | percentiles(times))
    if onnx:
        with tempfile.TemporaryDirectory() as folder:
            runs = {name: exported(network, inputs[:8], Path(folder) / f"{name}.onnx") for name, network in networks.items()}
            for name, times in over_inputs(runs, inputs).items():
                found.append({"runtime": "ONNX Runtime", "batch": len(inputs[0]), "network": name} | percentiles(times))
    return found


def exported(network: nn.Module, inputs: list[Tensor], file: Path) -> Any:
    """A network's ONNX file as a function."""
    match network:
        case Cascade():
            export_cascade(network, torch.cat(inputs), file)
        case DynamicNetwork():
            export_gated(network, torch.cat(inputs[:2]), file)
        case _:
            export(network, inputs[0], file)
    return runner(file)


def percentiles(times: Tensor) -> dict[str, float]:
    """Of milliseconds per input."""
    return {"p50": float(times.quantile(0.5)), "p95": float(times.quantile(0.95)), "mean": float(times.mean())}


def large() -> Row:
    """A ResNet-18 at 224 pixels with half of the channels of every layer: as the stage of a cascade that answers, and chosen by gates."""
    from tests.torchvision_shim import missing

    if reason := missing("torchvision"):
        raise SystemExit(reason)
    torch.manual_seed(0)
    dense = models.build("torchvision/resnet18").eval()
    inputs = list(torch.randn(40, 1, 3, 224, 224))
    graph = prunus.trace(dense, inputs[0])
    cascade = Cascade([prunus.compact(dense, prunus.plan(graph, scores.norm(graph), rate=0.5)), dense], inputs[0])
    cascade.threshold = 0.0  # the first stage answers all
    networks: dict[str, nn.Module] = {"dense": dense, "half of the channels, in a cascade": cascade}
    for layers, where in ((["layer*", "conv1"], "everywhere"), ("auto", "inside blocks")):
        for block in (1, 16):
            network = gated(dense, inputs[0], layers, block)
            share = float(network.macs(network.openings(torch.cat(inputs))).mean()) / network.dense_macs
            networks[f"gates {where}, channels in blocks of {block}, {share:.0%} of the MACs"] = network
    return {"macs": list(cascade.macs), "latency": timed(networks, inputs)}


def gated(dense: nn.Module, example: Tensor, layers: Any, block: int) -> DynamicNetwork:
    """With gates that open another half of the channels, more or less, for every input."""
    network = attach(dense, example, layers, "activation", block=block).eval()
    for gate in network.gates.values():
        nn.init.normal_(gate.last.weight)
        nn.init.zeros_(gate.last.bias)
    return network


if __name__ == "__main__":
    main()
