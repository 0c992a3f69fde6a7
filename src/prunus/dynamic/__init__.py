"""Dynamic pruning: gates that decide, for every input anew, which channels are computed."""

from prunus.dynamic.attach import attach
from prunus.dynamic.cascade import Answers, Cascade
from prunus.dynamic.cascade_onnx import export_cascade
from prunus.dynamic.files import load_gates, save_gates
from prunus.dynamic.finalize import settle
from prunus.dynamic.gated_onnx import export_gated
from prunus.dynamic.gates import Gate, KernelActivation, Opening, Widths, Winners
from prunus.dynamic.network import Activity, DynamicNetwork, activity, anneal
from prunus.dynamic.skipping import skipping

__all__ = [
    "Activity",
    "Answers",
    "Cascade",
    "DynamicNetwork",
    "Gate",
    "KernelActivation",
    "Opening",
    "Widths",
    "Winners",
    "activity",
    "anneal",
    "attach",
    "export_cascade",
    "export_gated",
    "load_gates",
    "save_gates",
    "settle",
    "skipping",
]
