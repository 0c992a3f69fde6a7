"""Networks by name, looked at without being changed: one alone, or two side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from prunus._foundation.arguments import door
from prunus._foundation.progress import Watch, unwatched
from prunus.dynamic import DynamicNetwork
from prunus.errors import ConfigError
from prunus.measure.comparison import compare_latency, output_difference
from prunus.paint import trace
from prunus.runs.data import Data, data_of, inputs_of, open_network, read_data, traced
from prunus.runs.fitting import fitted
from prunus.runs.settings import Network, network_of
from prunus.runs.shapes import planned_arguments
from prunus.tasks.words import metric_text

if TYPE_CHECKING:
    from prunus.runs.loading import Opened
    from prunus.tasks import Task

VERIFIED_ON = 64  # samples on which outputs are compared


@door(ConfigError)
def profile(model: Network | str) -> dict[str, Any]:
    """Cost, and every layer: shape, MACs, parameters; of a network with gates what they are, too.

    Raises ModelNameError, FileFormatError, ConfigError, TraceError: no such network, or none that can be
    traced.
    """
    opened = open_network(network_of(model), gated=True)
    network = opened.model if isinstance(opened.model, DynamicNetwork) else None
    graph = network.graph if network is not None else trace(opened.model, opened.arguments())
    return {
        "model": opened.record(),
        "cost": asdict(graph.cost()),
        "channels": graph.num_channels,
        "layers": [asdict(layer) for layer in graph.layers()],
    } | ({} if network is None else {"gates": _gates(network)})


def _gates(network: DynamicNetwork) -> dict[str, Any]:
    """What a gated network is, and how far its budget reaches."""
    groups = {group.name: group.size for group in network.graph.groups}
    reach = (
        {"budget": network.budget, "least": network.knob[-1][1], "most": network.knob[0][1]}
        if network.knob
        else {}
    )
    own = {"macs": network.gate_macs, "groups": {name: groups[name] for name in network.gates}}
    return asdict(network.form) | reach | own


@door(ConfigError)
def compare(
    first: Network | str,
    second: Network | str,
    data: Data | str | None = None,
    *,
    with_onnx: bool = True,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Two networks side by side: cost, measured latency, difference of the outputs, metric.

    Args:
        first, second: which.
        data: inputs, and test samples for the metric; None = noise, and no metric.
        with_onnx: measure in ONNX Runtime too.
        watch: told about progress.

    Raises:
        ConfigError, DataError, PrunusError: what is named is not there, or cannot be compared.
    """
    networks, named = (network_of(first), network_of(second)), data_of(data, 0)
    shape = networks[0].input_shape
    source = read_data(named, shape[-1] if shape else None, watch) if named else None
    watch("building the models", 0, 0)
    a, b = (open_network(network, source) for network in networks)
    if a.input_shape != b.input_shape:
        raise ConfigError(
            f"{networks[0].name} takes {a.input_shape} and {networks[1].name} takes {b.input_shape}: give"
            " --input-shape for both."
        )
    source, said = fitted(source, a, b) if source else (None, ())
    task = source.task(a.input_shape[-1]) if source else None
    accuracy: dict[str, Any] | None = None
    if task is not None:
        watch("evaluating", 0, 0)
        accuracy = _figures(a, b, task)
    several = planned_arguments(a.model) or planned_arguments(b.model)
    one, inputs = inputs_of(task, a.inputs() if task or several is None else several, VERIFIED_ON)
    core, other = traced(task, a.model), traced(task, b.model)
    watch("tracing", 0, 0)
    costs = [asdict(trace(network, one).cost()) for network in (core, other)]
    difference = output_difference(core, other, one if inputs is None else inputs)
    measured, _ = compare_latency(core, other, one, with_onnx=with_onnx, watch=lambda step: watch(step, 0, 0))
    return {
        "a": a.record(),
        "b": b.record(),
        "cost": {"a": costs[0], "b": costs[1]},
        "file_bytes": {side: file_bytes(opened) for side, opened in (("a", a), ("b", b))},
        "latency": [asdict(row) for row in measured],
        "difference": {"max_abs": difference.max_abs, "relative": difference.relative},
        "accuracy": accuracy,
        "notes": [*dict.fromkeys((*a.notes(), *b.notes(), *said))],
    }


def file_bytes(opened: Opened) -> int | None:
    """Of a network that came out of a file; None for one that was built."""
    return None if opened.file is None else opened.file.stat().st_size


def _figures(first: Opened, second: Opened, task: Task) -> dict[str, Any]:
    """The metric of both on the test samples. Raises ConfigError where there are none."""
    if task.test is None:
        raise ConfigError(f"{task.name} has no test samples to compare networks on.")
    values = {side: task.value(opened.model) for side, opened in (("a", first), ("b", second))}
    return values | {
        "count": task.count("test"),
        "of": task.kind("test"),
        "metric": metric_text(task),
    }
