"""Coded networks that segment: a U-Net trained on pictures, and what importance pruning left of it, on grids
after the training.

Every seed has a fold of its own: the pictures that are measured on are in no other's test. The networks are
those of `benchmarks.segmentation` in --models; the original is trained where it is not there, and the small
one is coded where it is.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from benchmarks import segmentation
from benchmarks.coding_files import MODULE, RESULT, code_of, file_of, key_of, parameters, tell
from benchmarks.coding_table import AFTER, GRIDS
from benchmarks.rows import Row, add, measured_before, record
from prunus import storage
from prunus.quantisation.grid import quantise
from prunus.segmentation import Patches

FOLDS = 5
SMALL = "made small, then grids"
TRAINING: Row = {"network": "unet", "width": 16, "shrink": 2, "epochs": 20, "size": 128, "count": 128}
PRUNING: Row = {
    "block": 1,
    "trial_epochs": 12,
    "step": 0.4,
    "least": 0.2,
    "l1": 1e-3,
    "importance": "weight",
    "scope": "global",
    "round_to": 8,
    "start": "ones",
}


def pictures(result: Row, options: argparse.Namespace) -> None:
    """Rows of a U-Net on the pictures of --data."""
    options.network = TRAINING["network"]
    for seed in options.seeds:
        wanted = [
            key_of(options, AFTER, way, error, seed) for way, error in product((GRIDS, SMALL), options.errors)
        ]
        if all(measured_before(result, key) for key in wanted):
            continue
        kind = TRAINING | PRUNING | {"called": options.called, "seed": seed, "folds": FOLDS, "fold": seed}
        run = segmentation.Run(kind, options.models, segmentation.Pictures.read(options.data, kind))
        networks = {GRIDS: run.trained()[0]}
        small = run.folder / segmentation.small_of(kind)
        if small.exists():
            networks[SMALL] = storage.load(small, partial(segmentation.built, kind)).eval()
        batches = windows(run, options.samples, seed)
        before = {way: iou(run, network) for way, network in networks.items()}
        for key in wanted:
            way = key["way"]
            if way in networks and not measured_before(result, key):
                found = quantise(networks[way], batches, error=key["setting"])
                row = key | code_of(file_of(options.models, key), found.model, found.tensors)
                row |= {"metric": "IoU", "accuracy": {"before": before[way], "after": iou(run, found.model)}}
                row |= {"samples": len(run.pictures.test), "calibration": options.samples}
                row |= {"dense": parameters(networks[GRIDS]), "training": TRAINING}
                add(RESULT, result, row, record(MODULE, "numba", seed=seed))
                tell(row)


def windows(run: segmentation.Run, samples: int, seed: int) -> list[Tensor]:
    """Calibration inputs: windows of the pictures that are trained on, as they are."""
    found = Patches(
        run.pictures.train, run.pictures.normalise, run.key["size"], samples, batch_size=16, turned=False
    )
    torch.manual_seed(seed)
    return [images for images, _ in found]


def iou(run: segmentation.Run, network: nn.Module) -> float:
    """Of the foreground, on the pictures of the test [%]."""
    return round(run.figures(network.eval(), run.pictures.test)["IoU"], 2)
