"""Results as the commands make them, without running one: LeNet-5 to a tolerance, and a ResNet-56 to a
budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from prunus.report import html
from prunus.report.metric import metric_of

# What figures show of a result.
DRAWN = "accuracy layers dynamic search training selection soft similarity history latency".split()

ENVIRONMENT = {
    "python": "3.11.7",
    "system": "Linux",
    "machine": "x86_64",
    "processor": "Some Processor @ 2.5GHz",
    "cpu_flags": ["avx2", "fma", "avx512f", "avx512_vnni"],
    "cores": 2,
    "threads": 2,
    "cpu_capability": "AVX512",
    "accelerator": "",
    "versions": {"prunus": "0.1.0", "torch": "2.13.0+cpu", "numpy": "2.4.6", "onnxruntime": "1.31.1"},
}


@pytest.fixture(scope="package", autouse=True)
def drawn() -> Iterator[dict[str, Any]]:
    """Figures that were drawn: pages that differ in what no figure shows have the same ones, and drawing
    takes most of their time.
    """
    whole, known = html._figures, dict[str, Any]()

    def figures(result: dict[str, Any]) -> dict[str, dict[str, str]]:
        seen = repr([*map(result.get, DRAWN), metric_of(result)])
        if seen not in known:
            known[seen] = whole(result)
        return known[seen]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "_figures", figures)
        yield known


def layer(
    name: str, op: str, shape: tuple[int, ...], width: tuple[int, int], macs: tuple[int, int]
) -> dict[str, Any]:
    return {
        "name": name,
        "op": op,
        "weight_shape": list(shape),
        "output_shape": [1, width[1], 8, 8],
        "width_before": width[0],
        "width_after": width[1],
        "macs_before": macs[0],
        "macs_after": macs[1],
        "params_before": macs[0] // 64 + width[0],
        "params_after": macs[1] // 64 + width[1],
    }


def quartiles(median: float) -> dict[str, float]:
    return {"median_ms": median, "q25_ms": median * 0.97, "q75_ms": median * 1.05, "repeats": 50}


def measured(runtime: str, before: float, after: float) -> dict[str, Any]:
    speedup = {"factor": before / after, "wins": 0.98, "certain": True}
    return {
        "runtime": runtime,
        "batch": 1,
        "threads": 1,
        "before": quartiles(before),
        "after": quartiles(after),
        "speedup": speedup,
    }


def curve(epochs: int, start: float, end: float, validation: bool = True) -> list[dict[str, Any]]:
    """A saturating curve from `start` to `end` percent."""
    rows = []
    for epoch in range(1, epochs + 1):
        value = end - (end - start) * 0.7**epoch
        rows.append(
            {
                "epoch": epoch,
                "loss": 2.3 * 0.75**epoch + 0.02,
                "accuracy": min(100.0, value + 0.6),
                "validation_accuracy": value if validation else None,
                "lr": 0.05,
                "seconds": 0.4,
            }
        )
    return rows


@pytest.fixture
def lenet() -> dict[str, Any]:
    return lenet_result()


@pytest.fixture
def resnet() -> dict[str, Any]:
    return resnet_result()


def lenet_result() -> dict[str, Any]:
    trials = [
        (0.5, 98.3),
        (0.75, 97.8),
        (0.875, 93.9),
        (0.81, 96.7),
        (0.84, 95.0),
        (0.825, 97.2),
        (0.83, 96.1),
    ]
    return {
        "schema": 1,
        "command": "prunus demo",
        "created": "2026-11-21T08:40:00+00:00",
        "seed": 0,
        "environment": ENVIRONMENT,
        "model": {
            "name": "lenet5",
            "class": "LeNet5",
            "input_shape": [1, 1, 8, 8],
            "num_classes": 10,
            "weights": None,
            "data": {
                "name": "digits",
                "train": 1288,
                "validation": 143,
                "test": 366,
                "mean": [0.3],
                "std": [0.38],
            },
        },
        "target": {
            "kind": "tolerance",
            "value": 1.0,
            "text": "lose at most 1 point of accuracy on held-out samples",
            "score": "norm-l2",
            "scope": "global",
            "round_to": 1,
            "floor": 1,
            "protect": [],
            "exact": False,
        },
        "cost": {
            "before": {"macs": 573_000, "params": 131_220, "bytes": 524_880, "peak_activation_bytes": 6_400},
            "after": {"macs": 143_000, "params": 21_040, "bytes": 84_160, "peak_activation_bytes": 3_072},
        },
        "layers": [
            layer("conv1", "convolution", (9, 1, 5, 5), (20, 9), (32_000, 14_400)),
            layer("conv2", "convolution", (21, 9, 5, 5), (50, 21), (400_000, 75_600)),
            layer("fc1", "linear", (140, 84), (500, 140), (100_000, 11_760)),
            layer("fc2", "linear", (10, 140), (10, 10), (5_000, 1_400)),
        ],
        "pinned": [
            {
                "reason": "it is an output of the model",
                "operator": "addmm",
                "where": "lenet.py:49: return self.fc2(x)",
                "channels": 10,
                "names": ["fc2.weight", "fc2.bias"],
            }
        ],
        "notes": [],
        "verification": {
            "mode": "eager",
            "max_abs": 4.8e-07,
            "relative": 2.1e-07,
            "exact": True,
            "inputs": "test images",
        },
        "accuracy": {
            "metric": "accuracy",
            "count": 366,
            "note": "366 test images, never seen before: one image is 0.3 points.",
            "steps": [
                {"step": "before", "value": 98.6, "loss": 0.05},
                {"step": "after removal", "value": 97.3, "loss": 0.1},
                {"step": "after fine-tuning", "value": 98.4, "loss": 0.06},
            ],
        },
        "search": {
            "tolerance": 1.0,
            "baseline": 97.9,
            "limit": 96.9,
            "note": "Filled: within the tolerance on 143 held-out images.",
            "trials": [
                {"left": 1 - rate, "value": value, "accepted": value >= 96.9} for rate, value in trials
            ],
        },
        "training": [
            {"name": "training", "epochs": curve(20, 10.0, 98.0)},
            {"name": "fine-tuning", "epochs": curve(8, 97.0, 98.5)},
        ],
        "latency": [
            measured("PyTorch", 0.128, 0.091),
            measured("ONNX Runtime", 0.031, 0.011),
        ],
        "seconds": {"training": 8.1, "plan": 0.3},
        "files": {
            "model": {"path": "model.safetensors", "bytes": 86_000},
            "onnx": {"path": "model.onnx", "bytes": 90_000},
        },
    }


def resnet_result() -> dict[str, Any]:
    layers = [layer("conv1", "convolution", (16, 3, 3, 3), (16, 11), (442_368, 304_128))]
    for stage, (width, side) in enumerate(((16, 32), (32, 16), (64, 8)), start=1):
        outer = int(width * 0.71)
        for block in range(9):
            inner = width * (10 - block) // 14
            for name, kept in (("conv1", inner), ("conv2", outer)):
                macs = width * width * 9 * side * side, inner * outer * 9 * side * side
                full = f"layer{stage}.{block}.{name}"
                layers.append(layer(full, "convolution", (kept, kept, 3, 3), (width, kept), macs))
    layers.append(layer("linear", "linear", (10, 45), (10, 10), (640, 450)))
    result = lenet_result()
    note = "10,000 test images: one standard error is 0.4 points."
    return {
        **result,
        "command": "prunus prune resnet56 --weights resnet56.th --data cifar10 --macs 0.5 --epochs 2 -o out",
        "model": {
            "name": "resnet56",
            "class": "CifarResNet",
            "input_shape": [1, 3, 32, 32],
            "num_classes": 10,
            "weights": "resnet56.th",
            "data": {
                "name": "cifar10",
                "train": 50_000,
                "validation": 0,
                "test": 10_000,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
        },
        "target": result["target"]
        | {"kind": "macs", "value": 0.5, "text": "50 % of its MACs", "scope": "uniform"},
        "cost": {
            "before": {
                "macs": 125_485_706,
                "params": 853_018,
                "bytes": 3_412_072,
                "peak_activation_bytes": 196_608,
            },
            "after": {
                "macs": 62_512_300,
                "params": 425_903,
                "bytes": 1_703_612,
                "peak_activation_bytes": 135_168,
            },
        },
        "layers": layers,
        "accuracy": {
            "metric": "accuracy",
            "count": 10_000,
            "note": note,
            "steps": [
                {"step": "before", "value": 83.2, "loss": 0.8},
                {"step": "after removal", "value": 23.4, "loss": 3.1},
                {"step": "after recalibration", "value": 62.3, "loss": 1.4},
                {"step": "after fine-tuning", "value": 86.0, "loss": 0.5},
            ],
        },
        "search": None,
        "training": [{"name": "fine-tuning", "epochs": curve(2, 70.0, 88.0, validation=False)}],
        "latency": [
            measured("PyTorch", 14.8, 11.9),
            measured("ONNX Runtime", 6.2, 3.6),
        ],
        "pinned": [
            *result["pinned"],
            {
                "reason": "a constant pad of 8 zero channels lies between two stages",
                "operator": "constant_pad_nd",
                "where": "resnet.py:41: return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))",
                "channels": 16,
                "names": [f"layer1.{block}.conv2.weight" for block in range(9)],
            },
        ],
    }
