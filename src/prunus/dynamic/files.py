"""Gates in a file of their own, beside that of the network that they were trained with. No pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.kinds import ODD
from prunus.dynamic.attach import attach
from prunus.dynamic.network import DynamicNetwork
from prunus.errors import FileFormatError, PrunusError, clause
from prunus.paint.inputs import Inputs
from prunus.storage.checkpoint import read_tree, write_tree

SCHEMA = 2


@door()
def save_gates(network: DynamicNetwork, path: Path | str) -> None:
    """Write the gates of a network, what they are like, and how they are set, atomically; the network itself
    is `network.plain()`.
    """
    gates = {name: dict(gate.state_dict()) for name, gate in network.gates.items()}
    settings = {
        "zeros": {name: gate.zeros for name, gate in network.gates.items()},
        "strictness": network.strictness,
        "dense_macs": network.dense_macs,
        "knob": [list(point) for point in network.knob],
    }
    write_tree(path, {"gates-schema": SCHEMA, "form": asdict(network.form), "gates": gates} | settings)


@door()
def load_gates(model: nn.Module, example_inputs: Inputs, path: Path | str) -> DynamicNetwork:
    """A copy of a network with the gates of a file.

    Args:
        model: the network that they were trained with.
        example_inputs: what it is called with.
        path: written by `save_gates`.

    Raises:
        FileFormatError: the file cannot be read, is none of gates, or its gates are those of another network.
    """
    tree = read_tree(path)
    if not isinstance(tree, Mapping) or tree.get("gates-schema") != SCHEMA:
        raise FileFormatError(f"{path} holds no gates that this version can read (schema {SCHEMA}).")
    try:
        network = _attached(model, example_inputs, tree)
        for name, state in tree["gates"].items():
            network.gates[name].look_past(int(tree["zeros"][name]))
            network.gates[name].load_state_dict(state)
        network.knob = [(float(strictness), float(macs)) for strictness, macs in tree["knob"]]
        network.tighten(float(tree["strictness"]))
        network.dense_macs = int(tree["dense_macs"])
    except (PrunusError, *ODD) as error:
        raise FileFormatError(
            f"{path}: its gates do not fit {type(model).__name__} ({clause(error)})."
        ) from error
    return network.eval()


def _attached(model: nn.Module, example_inputs: Inputs, tree: Mapping[str, Any]) -> DynamicNetwork:
    form = tree["form"]
    return attach(
        model,
        example_inputs,
        list(tree["gates"]),
        form["kind"],
        hidden=form["hidden"],
        block=form["block"],
        widths=tuple(form["widths"]),
    )
