"""The controls of `benchmarks.int8`, `benchmarks.dynamic` and `benchmarks.gated`: what the dense network and
networks of the small shapes reach with as much training, and as good a teacher.

* the dense network, trained on for as many epochs as what it teaches, taught by itself;
* a small network's shape with new weights, by the last recipe: taught, for the epochs of tuning alone, what
  somebody with a trained network would otherwise do; and without a teacher, for the dense network's epochs
  and these together, what somebody without one would.

Networks are kept in the folder of the others, and a training that was broken off goes on.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.rows import Row, complete, kept, record
from benchmarks.stages import DENSE, Material, material, place, recipe, stored, trained, trainings
from benchmarks.tuned_networks import renewed
from prunus.training import evaluate

LONGER, TAUGHT, ALONE = "dense, trained as long", "from scratch, taught", "from scratch, all epochs"


def stage_controls(
    options: argparse.Namespace, about: Material, dense: nn.Module, small: Sequence[str], extra: int = 0
) -> dict[str, tuple[str, nn.Module]]:
    """What a control is called -> its name in the folder, and itself.

    Args:
        options: how the others were trained.
        about: on what.
        dense: the network that taught them.
        small: names in the folder of those whose shapes are trained from scratch.
        extra: epochs of a second round of tuning.
    """
    how = recipe(options, about)
    epochs = how.epochs + extra
    whole = replace(how, epochs=options.epochs + epochs)
    how = replace(how, epochs=epochs)
    spoken = f"{epochs}x{how.lr:g}-{how.weight_decay:g}"
    name = f"longer-{spoken}"
    found = {LONGER: (name, trained(options, about, name, lambda: copy.deepcopy(dense), dense, how))}
    for one in small:
        for title, ending, teacher, config in (
            (TAUGHT, "taught", dense, how),
            (ALONE, f"alone-{options.epochs}", None, whole),
        ):

            def begun(one: str = one) -> nn.Module:
                return renewed(stored(options, one), options.seed)

            name = f"{one}-scratch-{ending}-{spoken}"
            title = title if len(small) == 1 else f"{one} {title}"
            found[title] = name, trained(options, about, name, begun, teacher, config)
    return found


def add_controls(
    path: Path,
    module: str,
    options: argparse.Namespace,
    names: Sequence[str],
    small: Callable[[argparse.Namespace, Row], Sequence[str]],
    figures: Callable[[argparse.Namespace, Material, str, nn.Module], Any],
) -> Row:
    """Put controls to all rows that lack them and whose networks are in the folder; the result with them.

    Args:
        path: file of the rows.
        module: that is run.
        options: folders, files and device.
        names: keys of a row that say how its networks were trained.
        small: (options, row) -> names in the folder of the small networks of a row.
        figures: (options, samples, name in the folder, network) -> what is measured of a control.
    """
    result, weights = kept(path), options.weights.name if options.weights else None
    for row in (one for one in result["rows"] if one["weights"] == weights):
        known = {name: row[name] for name in names if name != "device"}
        here = argparse.Namespace(**vars(options) | known)
        others = small(here, row)
        if "controls" in row or not all(place(here, name).exists() for name in (DENSE, *others)):
            continue
        about = material(here)
        extra: int = row.get("again_epochs", 0)
        found = stage_controls(here, about, stored(here, DENSE), others, extra)
        measured = {title: figures(here, about, *control) for title, control in found.items()}
        row["measured"] |= trainings(here, [name for name, _ in found.values()])["measured"]
        how = record(module, "onnxruntime", seed=here.seed)
        complete(path, result, row, "controls", measured, how)
        print(measured, flush=True)
    return result


def accuracy(options: argparse.Namespace, about: Material, name: str, network: nn.Module) -> float:
    """In percent, for networks that nothing else is measured of."""
    return evaluate(network.eval(), about.measuring, about.normalise).accuracy
