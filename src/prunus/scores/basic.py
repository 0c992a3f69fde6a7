from __future__ import annotations
import torch
def random(graph, seed: int = 0):
    return torch.rand(graph.num_channels, generator=torch.Generator().manual_seed(seed))
