"""What pruning in one shot costs: seconds and memory of scoring, planning and refitting to half of the MACs,
for a ResNet-50 and for networks on signals whose kernels are long.

    python -m benchmarks.one_shot_cost [--networks resnet50 ...] [--scope uniform]

Weights, and the images or signals that the scores look at, are random: neither time nor memory depends on
what they show. Every network has a process of its own, so that its peak is of this run alone; memory is what
the process holds at most, less what it held with network and samples loaded. The score is reconstruction, and
the next layers are refitted, as `prunus prune` does it when nothing is said.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

import prunus
from benchmarks.environment import RESULTS
from benchmarks.rows import Row, kept, record, signed, write
from prunus.compensation import refit
from prunus.data import Split
from prunus.planning.targets import Scope
from prunus.scores import reconstruction
from prunus.training import Calibration

RESULT = RESULTS / "one_shot_cost.json"
TAPS, CLASSES, SIGNALS = 64, 10, 128


def signals(channels: int, width: int, length: int) -> tuple[nn.Module, Tensor]:
    """Four convolutions of 64 taps on a signal, and their samples."""
    layers: list[nn.Module] = []
    for before in (channels, width, width, width):
        layers += [nn.Conv1d(before, width, TAPS, padding="same"), nn.BatchNorm1d(width), nn.ReLU()]
    head = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, CLASSES)]
    return nn.Sequential(*layers, *head), torch.randn(SIGNALS, channels, length)


def resnet50() -> tuple[nn.Module, Tensor]:
    """timm's, on pictures of 224 pixels."""
    from tests.torchvision_shim import missing

    if reason := missing("timm"):
        raise SystemExit(reason)
    import timm

    return timm.create_model("resnet50", num_classes=1000), torch.randint(256, (200, 3, 224, 224)).byte()


NETWORKS: Mapping[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "resnet50": resnet50,
    "signals, 0.5 million parameters": lambda: signals(14, 48, 512),
    "signals, 22 million parameters": lambda: signals(14, 340, 512),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--scope", choices=("uniform", "global"), default="uniform")
    options = parser.parse_args()
    others = [row for row in kept(RESULT)["rows"] if row["network"] not in options.networks]
    for name in options.networks:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measured, (name, options.scope))
        others.append(signed(row, record("benchmarks.one_shot_cost", "timm", seed=0)))
        write(RESULT, others)
        print(row, flush=True)


def measured(name: str, scope: Scope) -> Row:
    """One network, once."""
    torch.manual_seed(0)
    model, samples = NETWORKS[name]()
    model.eval()
    inputs = inputs_of(samples)
    graph = prunus.trace(model, next(iter(inputs))[:1])
    held, times = peak(), [time.perf_counter()]
    found = reconstruction(graph, inputs)
    times.append(time.perf_counter())
    plan = prunus.plan(graph, found, macs=0.5, scope=scope)
    times.append(time.perf_counter())
    small = prunus.compact(refit(model, plan, inputs), plan)
    times.append(time.perf_counter())
    spent = [round(after - before, 1) for before, after in itertools.pairwise(times)]
    return {
        "network": name,
        "scope": scope,
        "params": sum(one.numel() for one in model.parameters()),
        "params_left": sum(one.numel() for one in small.parameters()),
        "seconds": dict(zip(("score", "plan", "refit"), spent, strict=True)),
        "seconds_in_all": round(times[-1] - times[0], 1),
        "process_seconds": round(time.process_time(), 1),
        "held_gib": round(held, 2),
        "peak_gib": round(peak(), 2),
    }


def inputs_of(samples: Tensor) -> Calibration | list[Tensor]:
    """What the scores look at: pictures as a data set has them, signals in batches."""
    if samples.dtype == torch.uint8:
        split = Split(samples, torch.arange(len(samples)) % CLASSES)
        return Calibration(split, ((0.5,) * 3, (0.25,) * 3))
    return list(samples.split(32))


def peak() -> float:
    """GiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
