"""Runs: whole jobs, from what a user names to the folder that it leaves.

Each job of the command line is a function here, with the settings of its flags: `prune`, `train`, `find_lr`,
`cascade`, `latency`, `segment`, `segment_set`, `export`, `pack`, `unpack`, `profile`, `compare`, `chart`,
`demo` and `doctor`. It returns what the command prints as JSON, and leaves the same files; `deliver` writes
the folder of a run for an outcome of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunus._foundation.lazy import names_of

if TYPE_CHECKING:
    from prunus.runs.cascading import CascadeSettings, cascade
    from prunus.runs.charting import chart
    from prunus.runs.data import Data
    from prunus.runs.delivery import deliver
    from prunus.runs.demonstration import demo
    from prunus.runs.describe import Provenance
    from prunus.runs.examination import doctor
    from prunus.runs.exporting import ExportSettings, export
    from prunus.runs.gated import Gated, deliver_gated
    from prunus.runs.listing import methods, networks
    from prunus.runs.names import Compensation, Prefer, Runtime, Scope, Score, Served
    from prunus.runs.packing import PackSettings, pack, unpack
    from prunus.runs.profiling import compare, profile
    from prunus.runs.pruning import PruneSettings, prune
    from prunus.runs.rate_test import find_lr
    from prunus.runs.recipe import Recipe
    from prunus.runs.segmenting import Tiles, segment, segment_set
    from prunus.runs.settings import Delivery, Network, Quantisation
    from prunus.runs.timing import LatencySettings, latency
    from prunus.runs.training import train

_HOMES = {
    **dict.fromkeys(("CascadeSettings", "cascade"), "cascading"),
    "chart": "charting",
    "Data": "data",
    "deliver": "delivery",
    "Provenance": "describe",
    "doctor": "examination",
    **dict.fromkeys(("ExportSettings", "export"), "exporting"),
    **dict.fromkeys(("Gated", "deliver_gated"), "gated"),
    **dict.fromkeys(("PackSettings", "pack", "unpack"), "packing"),
    **dict.fromkeys(("compare", "profile"), "profiling"),
    **dict.fromkeys(("Compensation", "Prefer", "Runtime", "Scope", "Score", "Served"), "names"),
    **dict.fromkeys(("methods", "networks"), "listing"),
    **dict.fromkeys(("PruneSettings", "prune"), "pruning"),
    "find_lr": "rate_test",
    "Recipe": "recipe",
    **dict.fromkeys(("Tiles", "segment", "segment_set"), "segmenting"),
    **dict.fromkeys(("Delivery", "Network", "Quantisation"), "settings"),
    "demo": "demonstration",
    **dict.fromkeys(("LatencySettings", "latency"), "timing"),
    "train": "training",
}
__all__ = [
    "CascadeSettings",
    "Compensation",
    "Data",
    "Delivery",
    "ExportSettings",
    "Gated",
    "LatencySettings",
    "Network",
    "PackSettings",
    "Prefer",
    "Provenance",
    "PruneSettings",
    "Quantisation",
    "Recipe",
    "Runtime",
    "Scope",
    "Score",
    "Served",
    "Tiles",
    "cascade",
    "chart",
    "compare",
    "deliver",
    "deliver_gated",
    "demo",
    "doctor",
    "export",
    "find_lr",
    "latency",
    "methods",
    "networks",
    "pack",
    "profile",
    "prune",
    "segment",
    "segment_set",
    "train",
    "unpack",
]

__getattr__ = names_of(__name__, _HOMES)
