"""Latency as a target: what was asked for against what was measured, and the score lost against budgets of
MACs that are as quick.

    python -m benchmarks.latency [--networks torchvision/resnet50 …] [--share 0.5] [--tables]

Networks of torchvision with random weights and ours; ONNX Runtime, one thread, batch 1; scores are l2 norms
of channels, compared between layers. The plan's own search measures on its way; the times of the table were
taken afterwards, all networks of a row in turns. A budget of MACs is bisected by predicted time and then
corrected by measurements until it is as quick as the plan. Wants a quiet machine. `--tables` begins with an
empty folder of tables, so that the seconds are those of a first time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import prunus
from benchmarks.environment import RESULTS
from benchmarks.rows import Row, add, kept, measured_before, page, record
from prunus import models, scores
from prunus.errors import TargetError
from prunus.measure.machine import Here, Stopwatch
from prunus.measure.shapes import timed_layers
from prunus.paint.graph import ChannelGraph
from prunus.planning.losses import Losses
from prunus.planning.targets import Scope
from prunus.planning.width_search import Clocked
from prunus.plans.plan import Plan

RESULT = RESULTS / "latency.json"
IMAGENET = tuple(
    "resnet18 resnet50 mobilenet_v2 mobilenet_v3_large efficientnet_b0 regnet_y_400mf vgg16".split()
)
NETWORKS = (*(f"torchvision/{name}" for name in IMAGENET), "unet", "resnet56")
SIZES = {"unet": 256, "resnet56": 32}
RIVALS = (("MACs", 1), ("MACs, multiples of 8", 8))
TRIES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--share", type=float, default=0.5, help="of the dense network's latency")
    parser.add_argument("--tables", action="store_true", help="begin with an empty folder of layer times")
    parser.add_argument("--table", action="store_true", help="only write the table from the kept results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = kept(RESULT)
    for name in () if options.table else options.networks:
        key = {"network": name, "share": options.share}
        if not measured_before(result, key):
            add(
                RESULT,
                result,
                key | measured(name, options),
                record("benchmarks.latency", "onnxruntime", "torchvision", seed=0),
            )
            print(result["rows"][-1], flush=True)
    RESULT.with_suffix(".md").write_text(table(result))
    print(table(result))


def measured(name: str, options: argparse.Namespace) -> Row:
    """Plan, and its rivals, each measured in turns with the dense network."""
    if name.startswith("torchvision/"):
        from tests.torchvision_shim import missing

        if reason := missing("torchvision"):
            raise SystemExit(reason)
    torch.manual_seed(0)
    size = SIZES.get(name, 224)
    model = models.build(name).eval()
    graph = prunus.trace(model, torch.zeros(1, 3, size, size))
    worth = scores.norm(graph)
    with tempfile.TemporaryDirectory() as folder:
        machine = Here("onnxruntime", folder=Path(folder) if options.tables else None)
        start = time.perf_counter()
        layers = timed_layers(graph)
        tables = machine.tables(layers.shapes)
        probing = time.perf_counter() - start
        plan = prunus.plan(graph, worth, latency=options.share, runtime=machine, scope="global")
        planning = time.perf_counter() - start - probing
    row: Row = {
        "size": size,
        "probing_seconds": probing,
        "planning_seconds": planning,
        "timings": len(plan.timings),
        "plans": {},
    }
    with machine.stopwatch(model, torch.randn(1, 3, size, size)) as timed:
        dense, ours = timed(prunus.compact(model, plan))
        row["dense_ms"] = dense
        row["plans"]["latency"] = {"latency": ours / dense} | about(graph, worth, plan)
        clocked = Clocked(graph, layers, [tables[shape] for shape in layers.shapes], dense)
        for rival, multiple in RIVALS:
            found = as_quick(graph, worth, multiple, ours / dense, clocked, timed)
            row["plans"][rival] = found and {"latency": found[1]} | about(graph, worth, found[0])
    return row


def about(graph: ChannelGraph, worth: torch.Tensor, plan: Plan) -> Row:
    """What a plan leaves and loses."""
    removed = torch.from_numpy(plan.removed_in(graph))
    return {
        "macs": plan.after.macs / plan.before.macs,
        "params": plan.after.params / plan.before.params,
        "lost": float(worth[removed].sum() / worth.sum()),
    }


def as_quick(
    graph: ChannelGraph,
    worth: torch.Tensor,
    multiple: int,
    share: float,
    clocked: Clocked,
    timed: Stopwatch,
    losses: Sequence[Losses] | None = None,
) -> tuple[Plan, float] | None:
    """The largest budget of MACs that, measured, takes no longer than this share of the dense network's time,
    and the share that it takes; None if none was found.
    """
    best, aim = None, share
    for _ in range(TRIES):
        plan = predicted(graph, worth, multiple, aim, clocked, losses)
        if plan is None:
            return best
        dense, small = timed(prunus.compact(graph.model, plan))
        reached = small / dense
        if reached <= share * 1.005:
            best = plan, reached
            if reached >= share * 0.97:
                break
        aim *= share / reached * (0.995 if reached > share else 1.0)
    return best


def predicted(
    graph: ChannelGraph,
    worth: torch.Tensor,
    multiple: int,
    share: float,
    clocked: Clocked,
    losses: Sequence[Losses] | None = None,
) -> Plan | None:
    """The largest budget of MACs whose predicted time is within a share of the dense network's; by `losses`
    of every layer where they were measured, otherwise by scores that are compared between layers.
    """
    low, high, best = 0.0, 1.0, None
    full = clocked.of(clocked.full)
    for _ in range(12):
        middle = (low + high) / 2
        try:
            scope: Scope = "measured" if losses else "global"
            plan = prunus.plan(graph, worth, macs=middle, scope=scope, losses=losses, round_to=multiple)
        except TargetError:
            low = middle
            continue
        if clocked.of(graph.kept(plan.removed_in(graph))) <= share * full:
            low, best = middle, plan
        else:
            high = middle
    return best


def table(result: Row) -> str:
    """All rows as Markdown."""
    about = (
        "Shares are of the dense network: its median time in ONNX Runtime (one thread, batch 1), its MACs, "
        "the sum of its scores. Budgets are the largest as quick as the plan, measured. Seconds: timing the "
        "layers for the first time, and planning with all measurements."
    )
    return page(
        "Latency as a target",
        result["rows"],
        about,
        lambda: _plans(result["rows"]),
        lambda row: f"{row['network']} {row['share']:.0%}",
    )


def _plans(rows: list[Row]) -> list[str]:
    lines = [
        (
            "| network | input | dense [ms] | asked | plan | time | MACs | score lost | probing [s] |"
            " planning [s] | plans measured |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name, one in row["plans"].items():
            first = (
                [row["network"], str(row["size"]), f"{row['dense_ms']:.2f}", f"{row['share']:.0%}"]
                if name == "latency"
                else ["", "", "", ""]
            )
            shares = (
                ["none as quick", "", ""]
                if one is None
                else [f"{one['latency']:.1%}", f"{one['macs']:.1%}", f"{one['lost']:.2%}"]
            )
            last = (
                [f"{row['probing_seconds']:.0f}", f"{row['planning_seconds']:.0f}", str(row["timings"])]
                if name == "latency"
                else ["", "", ""]
            )
            lines.append("| " + " | ".join([*first, name, *shares, *last]) + " |")
    return lines


if __name__ == "__main__":
    main()
