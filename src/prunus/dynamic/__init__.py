"""Dynamic pruning: gates that decide, for every input anew, which channels are computed."""

from prunus.dynamic.attach import attach
from prunus.dynamic.gates import Gate, KernelActivation, Opening, Widths, Winners
from prunus.dynamic.network import Activity, DynamicNetwork, activity, anneal
from prunus.dynamic.skipping import skipping

__all__ = ["Activity", "DynamicNetwork", "Gate", "KernelActivation", "Opening", "Widths", "Winners", "activity", "anneal", "attach", "skipping"]
