"""`mask`: the dense model with every slot of the removed channels set to zero. The yardstick for `compact`."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .plan import Plan
from .resolve import graph_for
from .twin import copy_model, named_tensors, unwrap


def mask(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of the model in which the removed channels are zero: their filters, biases, norm scales and shifts.

    Input slices of the weights that read these channels are left alone. Running means of removed channels are zeroed too, so that a batch norm
    without affine parameters gives zero.

    Raises PlanError if the plan was made for another model.
    """
    model = unwrap(model)
    graph = graph_for(model, plan)
    removed = plan.removed_in(graph)
    masked = copy_model(model, {})
    tensors = named_tensors(masked)
    with torch.no_grad():
        for axis in graph.axes:
            zeroed = (axis.is_parameter and axis.produces) or axis.name in graph.reset_means
            if zeroed and len(removed):
                gone = np.flatnonzero((axis.channels >= 0) & removed[axis.channels])
                if len(gone):
                    tensor = tensors[axis.name]
                    tensor.index_fill_(axis.dim, torch.from_numpy(gone).to(tensor.device), 0)
    return masked
