"""A traced model as JSON data, its tensors apart, and back: names with their ties and order, batch norms, and
the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunus.errors import FileFormatError, clause
from prunus.paint.model_copy import named_tensors
from prunus.storage.graph_json import graph_from_data, graph_to_data
from prunus.storage.header import Traced
from prunus.storage.names import check_path
from prunus.storage.rehearsal import rehearse
from prunus.surgery.traced.module import TracedBatchNorm, TracedModule, install_batch_norm


def traced_to_data(model: TracedModule) -> dict[str, Any]:
    """The fields that `Traced` reads back. Raises FileFormatError where a name or an operator has no form in
    a file.
    """
    first = {id(t): name for name, t in named_tensors(model).items()}
    persistent = set(model.state_dict())
    buffers = [name for name, _ in model.named_buffers(remove_duplicate=False)]
    modules = model.named_modules(remove_duplicate=False)
    return {
        "places": [[check_path(name, "a tensor"), first[id(tensor)]] for name, tensor in _all_names(model)],
        "buffers": buffers,
        "transient": [name for name in buffers if name not in persistent],
        "norms": {name: [float(m.eps), m.momentum] for name, m in modules if isinstance(m, TracedBatchNorm)},
        "graph": graph_to_data(model.graph),
        "inputs": model.inputs,
        **({"lengths": [list(lengths) for lengths in model.lengths]} if model.lengths else {}),
    }


def _all_names(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every name of every parameter and buffer, module by module."""
    for path, module in model.named_modules(remove_duplicate=False):
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield (f"{path}.{key}" if path else key), tensor


def traced_from_data(data: Traced, tensors: Mapping[str, Tensor], device: torch.device) -> TracedModule:
    """The traced model, its parameters frozen. Raises FileFormatError where the data make no model, or one
    that asks for too much.
    """
    rehearse_data(data, tensors)
    return _built(data, tensors, device)


def rehearse_data(data: Traced, tensors: Mapping[str, Tensor]) -> None:
    """Build the model without data and run it once; raises FileFormatError where that fails."""
    meta = torch.device("meta")
    rehearse(
        _built(data, {name: torch.empty_like(tensor, device=meta) for name, tensor in tensors.items()}, meta),
        data.inputs,
    )


def _built(data: Traced, tensors: Mapping[str, Tensor], device: torch.device) -> TracedModule:
    if set(data.places.values()) != set(tensors):
        raise FileFormatError("The names in its header are not those of its tensors.")
    try:
        shell = nn.Module()
        parameters = {name: nn.Parameter(t, requires_grad=False) for name, t in tensors.items()}
        for name, source in data.places.items():
            path, _, key = name.rpartition(".")
            owner = _container(shell, path.split(".") if path else [])
            if name in data.buffers:
                owner.register_buffer(key, tensors[source], persistent=name not in data.transient)
            else:
                owner.register_parameter(key, parameters[source])
        for name, (eps, momentum) in data.norms.items():
            install_batch_norm(shell, name, momentum, eps)
        return TracedModule(
            shell, graph_from_data(data.graph, data.places, data.norms, device), data.inputs, data.lengths
        )
    except FileFormatError:
        raise
    except Exception as error:  # registering, compiling: whatever the data hold, the file is to blame
        raise FileFormatError(
            f"Its traced model cannot be built ({type(error).__name__}: {clause(error)})."
        ) from error


def _container(shell: nn.Module, parts: list[str]) -> nn.Module:
    """The module at a path, with plain modules made on the way."""
    for part in parts:
        if part not in shell._modules:
            shell.add_module(part, nn.Module())
        shell = shell.get_submodule(part)
    return shell
