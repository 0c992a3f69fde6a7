"""placeholder"""
from __future__ import annotations
from torch import nn
def compact_traced(model, graph, plan) -> nn.Module | None:
    return None
