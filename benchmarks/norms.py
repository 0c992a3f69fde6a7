"""Norms that keep their width or are the plain kernel again: what each costs in time, and what each does to
the accuracy.

    python -m benchmarks.norms latency
    python -m benchmarks.norms accuracy --data DIR [--seeds 3] [--epochs 6] [--images 20000]

`latency` times ConvNeXt-tiny and a hybrid of convolutions and attention (CAFormer-s18) at half of their
channels, dense, with norms that keep their width and with plain ones, in turns, in PyTorch and in ONNX
Runtime. `accuracy` trains small networks of the same two families on CIFAR-10, removes channels by their
norms, and looks at the test samples before and after one epoch of training on. Rows are kept in
`benchmarks/results/norms.json` as they come; what is there already is not measured again. The page `norms.md`
is made from that file.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import prunus
from benchmarks.environment import RESULTS
from benchmarks.norms_table import table
from benchmarks.rows import Row, add, kept, measured_before, record
from prunus import data, scores
from prunus.data import Split
from prunus.deploy.onnx import export
from prunus.measure.timing import Latency, measure, measure_onnx, speedup
from prunus.training import Normalise, TrainConfig, train
from prunus.training.evaluation import evaluate

RESULT = RESULTS / "norms.json"
NETWORKS = ("convnext", "hybrid")
TIMED = {"convnext": "convnext_tiny", "hybrid": "caformer_s18"}  # of timm
RATES = (0.1, 0.3, 0.5)
NORMS: tuple[Literal["original", "plain"], ...] = ("original", "plain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("latency", "accuracy"))
    parser.add_argument("--data", type=Path, help="the folder with the data sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=10_000, help="training images, the first ones")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS)
    options = parser.parse_args()
    from tests.torchvision_shim import missing

    if without := missing("torchvision", "timm"):
        raise SystemExit(without)
    warnings.simplefilter("ignore")
    for network in options.only:
        if options.what == "latency":
            time_network(network)
        else:
            for seed in range(options.seeds):
                train_network(network, seed, options)
    RESULT.with_suffix(".md").write_text(table(kept(RESULT)))


def half(model: nn.Module, image: Tensor, rate: float = 0.5) -> dict[str, nn.Module]:
    """The dense model, and the same plan with both kinds of norms."""
    graph = prunus.trace(model, image)
    plan = prunus.plan(graph, scores.norm(graph, p=2), rate=rate)
    return {"dense": model} | {norms: prunus.compact(model, plan, norms=norms) for norms in NORMS}


def time_network(network: str) -> None:
    """Latency of all three in turns, on one thread."""
    import timm

    result, key = kept(RESULT), {"what": "latency", "network": TIMED[network]}
    if measured_before(result, key):
        return
    torch.manual_seed(0)
    model, image = timm.create_model(TIMED[network]).eval(), torch.randn(1, 3, 224, 224)
    models = half(model, image)
    row: Row = {**key, "torch": _times(measure(models, image, limit_s=60))}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in models}
        for name, path in files.items():
            export(models[name], image, path)
        row["onnxruntime"] = _times(measure_onnx(files, image, limit_s=60))
    add(RESULT, result, row, record("benchmarks.norms", "timm", "onnxruntime", seed=0))
    print(row, flush=True)


def _times(found: Mapping[str, Latency]) -> Row:
    times = {
        name: [round(one.median_ms, 3), round(one.q25_ms, 3), round(one.q75_ms, 3)]
        for name, one in found.items()
    }
    ratios = {name: round(speedup(found[name], found["original"]).factor, 3) for name in ("dense", "plain")}
    return {"ms": times, "over_original": ratios, "repeats": found["dense"].repeats}


def train_network(network: str, seed: int, options: argparse.Namespace) -> None:
    """Train from scratch, prune at every rate with both kinds of norms, look at the test samples before and
    after an epoch of training on.
    """
    key = {
        "what": "accuracy",
        "network": network,
        "seed": seed,
        "epochs": options.epochs,
        "images": options.images,
    }
    result = kept(RESULT)
    if all(measured_before(result, key | {"rate": rate}) for rate in RATES):
        return
    images = data.load("cifar10", options.data)
    training = Split(images.train.images[: options.images], images.train.labels[: options.images])
    torch.manual_seed(seed)
    model = small_network(network)
    config = TrainConfig(
        epochs=options.epochs,
        batch_size=64,
        lr=2e-3,
        optimizer="adamw",
        weight_decay=0.05,
        augment="crop-flip",
        seed=seed,
        warmup_steps=100,
        clip=1.0,
    )
    train(
        model,
        training,
        config,
        normalise=images.normalise,
        on_epoch=lambda epoch: print(network, seed, epoch, flush=True),
    )
    dense = _accuracies(model.eval(), training, images.test, images.normalise, config)
    for rate in RATES:
        if measured_before(result := kept(RESULT), key | {"rate": rate}):
            continue
        row: Row = {**key, "rate": rate, "dense": dense}
        for name, one in half(model, torch.zeros(1, *images.image_shape), rate).items():
            if name != "dense":
                row[name] = _accuracies(one, training, images.test, images.normalise, config)
        add(RESULT, result, row, record("benchmarks.norms", "timm", seed=seed))
        print(row, flush=True)


def _accuracies(
    model: nn.Module, training: Split, test: Split, normalise: Normalise, config: TrainConfig
) -> dict[str, float]:
    """At once, and after one epoch at a tenth of the learning rate."""
    at_once = evaluate(model, test, normalise).accuracy
    on = copy.deepcopy(model)
    settings: dict[str, Any] = {"epochs": 1, "lr": config.lr / 10, "warmup_steps": 0}
    train(on, training, config.__class__(**(vars(config) | settings)), normalise=normalise)
    return {"at_once": round(at_once, 3), "trained_on": round(evaluate(on, test, normalise).accuracy, 3)}


def small_network(network: str) -> nn.Module:
    """A network of the family for images of 32 x 32 pixels."""
    from timm.models.convnext import ConvNeXt
    from timm.models.metaformer import Attention, LayerNorm2dNoBias, LayerNormNoBias, MetaFormer, SepConv

    if network == "convnext":
        small: nn.Module = ConvNeXt(
            num_classes=10, depths=(1, 1, 3, 1), dims=(32, 64, 128, 256), patch_size=2
        )
        return small
    mixers = [SepConv, SepConv, Attention, Attention]
    norms: list[type[nn.Module]] = [LayerNorm2dNoBias, LayerNorm2dNoBias, LayerNormNoBias, LayerNormNoBias]
    hybrid: Any = MetaFormer(
        num_classes=10,
        depths=(1, 1, 2, 1),
        dims=(32, 64, 96, 128),
        token_mixers=mixers,
        norm_layers=norms,
        use_mlp_head=False,
    )
    hybrid.stem.conv = nn.Conv2d(3, 32, 3, 2, 1)  # instead of 7 x 7 with a stride of 4
    whole: nn.Module = hybrid
    return whole


if __name__ == "__main__":
    main()
