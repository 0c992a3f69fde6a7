"""A traced forward as an ordinary, trainable module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from prunus._foundation.warned import warn
from prunus.errors import ArgumentError, TraceError
from prunus.paint.inputs import tensors_in
from prunus.paint.model_copy import walk
from prunus.paint.widths import WrittenAnew
from prunus.surgery.traced.code import compile_graph, copy_graph
from prunus.surgery.traced.literals import operator_name
from prunus.surgery.traced.pickled import graph_of, state_of

Lengths = tuple[tuple[int | None, ...], ...]


class TracedBatchNorm(_BatchNorm):
    """The batch norm of a traced module, for any number of spatial axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any rank: the traced graph says what comes."""


_OWN_NAMES = frozenset(
    ("graph", "inputs", "lengths", "prunus", "training", "_mode", "_run", "_in_spec", "_out_spec")
)


class TracedModule(WrittenAnew, nn.Module):
    """A traced forward as an ordinary module: parameters under their original names, batch size and
    resolution free, train and eval mode.

    Attributes:
        graph: the ATen operators, as a torch.fx graph.
        inputs: shapes and dtypes of what it was traced with, as in a plan; "" where they are of unusual
            types.
        lengths: for every input that is a tensor, its length along each axis in which the graph knows no
            other, elsewhere None; empty where all are free. Other inputs are refused: what the graph holds
            was made of these sizes.
    """

    def __init__(self, tensors: nn.Module, graph: fx.Graph, inputs: str = "", lengths: Lengths = ()) -> None:
        super().__init__()
        for name in (*tensors._modules, *tensors._parameters, *tensors._buffers):
            if name in _OWN_NAMES or hasattr(TracedModule, name):
                raise TraceError(
                    f"A traced module has a {name} of its own, so nothing of the model can have that name;"
                    " rename it."
                )
        self._parameters = tensors._parameters
        self._buffers = tensors._buffers
        self._non_persistent_buffers_set = tensors._non_persistent_buffers_set
        self._modules = tensors._modules
        self.training = self._mode = False
        self.inputs, self.lengths = inputs, lengths
        self._take(graph)

    def _take(self, graph: fx.Graph) -> None:
        """Compute what a graph says from now on."""
        self.graph = graph
        info = graph._codegen.pytree_info  # type: ignore[attr-defined]
        self._in_spec, self._out_spec = info.in_spec, info.out_spec  # the names that the generated code uses
        self._run: Callable[..., Any] = compile_graph(graph)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph; same inputs and outputs as the module that was traced. Raises ArgumentError for
        inputs of other `lengths`.
        """
        if self.lengths:
            self._check_lengths((args, kwargs))
        if self._mode != self.training:
            self._switch_mode()
        return self._run(self, *args, **kwargs)

    def _check_lengths(self, inputs: Any) -> None:
        for tensor, lengths in zip(tensors_in(inputs), self.lengths):
            if any(length not in (None, own) for length, own in zip(lengths, tensor.shape)):
                wanted = ", ".join("any" if length is None else str(length) for length in lengths)
                raise ArgumentError(
                    f"The traced graph was made for inputs of shape ({wanted}), as the forward makes numbers"
                    f" or conditions of these sizes in Python; ({', '.join(map(str, tensor.shape))}) has"
                    " others, so trace the dense model with inputs of that shape."
                )

    def _switch_mode(self) -> None:
        """Set the training flag of every operator that has one (batch norms are modules
        and know their own).
        """
        self._mode = self.training
        changed = [_switch(node, self.training) for node in self.graph.nodes]
        if any(changed):
            self.rebuild()

    def rebuild(self) -> None:
        """Compile the graph again after its nodes changed."""
        self._run = compile_graph(self.graph)

    def __getstate__(self) -> dict[str, Any]:
        made = ("_run", "_in_spec", "_out_spec")
        return {
            name: state_of(value) if name == "graph" else value
            for name, value in self.__dict__.items()
            if name not in made
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._take(graph_of(state["graph"]))

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedModule:
        shell = nn.Module()
        for name in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
            setattr(shell, name, copy.deepcopy(getattr(self, name), memo))
        result = TracedModule(shell, copy_graph(self.graph))
        result.__class__ = type(self)  # it may be one that keeps the widths of its norms
        kept = tuple(
            "_parameters _buffers _non_persistent_buffers_set _modules graph _run _in_spec _out_spec".split()
        )
        for name, value in self.__dict__.items():
            if name not in kept:
                result.__dict__[name] = copy.deepcopy(value, memo) if name != "prunus" else value
        return result


def _switch(node: fx.Node, training: bool) -> bool:
    """Set one node's training flag: batch_norm(…, training, momentum, eps, cudnn), instance_norm is free of
    modes, dropout(x, p, train).
    """
    name = operator_name(node)
    index = {"batch_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2}.get(name)
    if index is None or node.args[index] == training:
        return False
    if name == "batch_norm" and node.args[3] is None:
        return False  # without running statistics it always uses those of the batch
    node.update_arg(index, training)
    return True


def set_modes(traced: TracedModule, model: nn.Module) -> None:
    """Give a traced model the mode of the one that it was traced from, and its batch norms theirs, which are
    frozen in some trainings; warns of dropout in another mode, as the graph has one for all of that.
    """
    traced.train(model.training)
    modules = walk(model)
    for name, module in walk(traced).items():
        if isinstance(module, TracedBatchNorm) and name in modules:
            module.training = modules[name].training
    apart = [
        name
        for name, module in modules.items()
        if isinstance(module, _DropoutNd) and module.p and module.training != model.training
    ]
    if apart:
        warn(f"{apart[0]} is not in the mode of {type(model).__name__}; in the traced graph all dropout is.")


def install_batch_norm(shell: nn.Module, path: str, momentum: float | None, eps: float) -> None:
    """Put a batch norm in the place of the plain container that holds its tensors."""
    parent_path, _, name = path.rpartition(".")
    parent = shell.get_submodule(parent_path)
    container = parent.get_submodule(name)
    if isinstance(container, TracedBatchNorm):
        return
    norm = TracedBatchNorm(0, eps=eps, momentum=momentum, affine=False)
    norm._parameters, norm._buffers = container._parameters, container._buffers
    norm._buffers.setdefault("num_batches_tracked", torch.zeros((), dtype=torch.long))
    for key in ("weight", "bias"):
        norm._parameters.setdefault(key, None)
    norm.affine, norm.num_features = norm.weight is not None, len(container._buffers["running_mean"])  # type: ignore[arg-type]
    norm.training = False
    setattr(parent, name, norm)
