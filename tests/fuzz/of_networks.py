"""Good files of networks, trainings and runs, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import prunus
from prunus import storage

LENGTH = 8  # pixels of all pictures


class Small(nn.Module):
    """A network with a residual block, a batch norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 1))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(x.mean((2, 3)))


EXAMPLE = torch.zeros(1, 1, LENGTH, LENGTH)


def small() -> nn.Module:
    """The same weights every time."""
    torch.manual_seed(0)
    return Small().eval()


def planned() -> tuple[nn.Module, Any]:
    """A network and a plan for it."""
    model = small()
    graph = prunus.trace(model, EXAMPLE)
    return model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.4)


def eager(folder: Path) -> None:
    model, plan = planned()
    prunus.save(prunus.compact(model, plan), folder / "model.safetensors")


def traced(folder: Path) -> None:
    from prunus.surgery.traced.export import export_module

    prunus.save(export_module(small(), ((EXAMPLE,), {})), folder / "model.safetensors")


def coded(folder: Path) -> None:
    """A compact network of the catalogue, with tensors of all kinds."""
    model = lenet(2)
    graph = prunus.trace(model, EXAMPLE)
    model = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.8))
    storage.save_coded(model, grids(model), folder / "model.prunus", about={"made": "here"}, plan=True)


def lenet(seed: int) -> nn.Module:
    """A network of the catalogue that is read in no time."""
    from prunus.models import lenet5

    torch.manual_seed(seed)
    return lenet5(3, 1, LENGTH).eval()


def grids(model: nn.Module) -> dict[str, Any]:
    """Tensors on grids, matrices on a trellis, one tensor in a codebook, the others as they are."""
    from prunus.coding import Codebook, Grid
    from prunus.coding.trellis import integers_of

    found: dict[str, Any] = {}
    for name, tensor in model.named_parameters():
        integers = np.rint(tensor.detach().numpy() * 8).astype(np.int32)
        found[name] = Grid(integers, 0.125)
        if tensor.dim() > 1:
            found[name] = Grid(integers_of(integers), 0.0625, trellis=True)
        if tensor.dim() == 4 and not any(isinstance(one, Codebook) for one in found.values()):
            found[name] = Codebook(integers % 4, np.array([0, 0.5, -0.5, 0.25], np.float32))
    found.popitem()
    return found


def coded_traced(folder: Path) -> None:
    from prunus.surgery.traced.export import export_module

    model = export_module(small(), ((EXAMPLE,), {}))
    storage.save_coded(model, grids(model), folder / "model.prunus")


def coded_onnx(folder: Path) -> None:
    from prunus.coding import Plain, container
    from prunus.coding.skeleton import PERMUTED, RESHAPED, SUM, Reference, write
    from prunus.coding.table import Entry
    from prunus.storage.coded_network import OWN, Network, to_bytes

    network = Network(OWN, "Net", False, False, {})
    entries = [Entry(one) for one in grids(lenet(0)).values()] + [
        Entry(Plain(np.arange(6.0, dtype=np.float32)))
    ]
    references = [
        *(Reference(place) for place in range(len(entries))),
        Reference(0, PERMUTED, (1, 0, 2, 3)),
        Reference(7, RESHAPED, (2, 3)),
        Reference(7, SUM, (7,)),
    ]
    graph = write(references, b"\x08\x08B\x04\n\x00\x10\x14", b"\x12\x01g")
    (folder / "model.prunus").write_bytes(container.write(to_bytes(network), entries, skeleton=graph))


def read_coded_onnx(folder: Path) -> Any:
    from prunus.deploy.skeleton import write_onnx

    kept = write_onnx(folder / "model.prunus", folder / "model.onnx", int8=True)
    write_onnx(folder / "model.prunus", folder / "plain.onnx")
    return [kept, (folder / "model.onnx").read_bytes(), (folder / "plain.onnx").read_bytes()]


def tree(folder: Path) -> None:
    storage.write_tree(
        folder / "tree.safetensors",
        {"a": [1, 2.5, None, True, "x"], 3: {"t": torch.arange(6.0), "e": torch.zeros(0)}},
    )


def trained(folder: Path) -> Any:
    """A training with a checkpoint that says that it is over."""
    from prunus.data import Split
    from prunus.training import TrainConfig, train

    data = Split(
        torch.arange(4 * LENGTH**2).view(4, 1, LENGTH, LENGTH).to(torch.uint8), torch.tensor([0, 1, 2, 0])
    )
    model = small()
    config = TrainConfig(epochs=1, lr=0.01, batch_size=4)
    history = train(
        model,
        data,
        config,
        normalise=((0.5,), (0.5,)),
        checkpoint=folder / "checkpoint.safetensors",
        resume=True,
    )
    return [model, [record.loss for record in history.epochs]]


def gates(folder: Path) -> None:
    from prunus.dynamic import attach, save_gates

    save_gates(attach(small(), EXAMPLE, ["block.0"], "activation"), folder / "gates.safetensors")


def read_gates(folder: Path) -> Any:
    from prunus.dynamic import load_gates

    network = load_gates(small(), EXAMPLE, folder / "gates.safetensors")
    return [network, network.strictness, network.knob, network.dense_macs]


def result(folder: Path) -> None:
    eager(folder)
    text = {
        "schema": 1,
        "command": "prunus prune",
        "created": "",
        "environment": {},
        "target": {},
        "cost": {},
        "layers": [],
        "verification": {},
    }
    model = {
        "name": "lenet5",
        "class": "LeNet5",
        "input_shape": list(EXAMPLE.shape),
        "options": {"in_channels": 1, "image_size": LENGTH},
    }
    (folder / "result.json").write_text(
        json.dumps(text | {"model": model | {"weights": "", "data": {"mean": [0.5], "std": [0.5]}}})
    )
    run_model(folder)


def run_model(folder: Path) -> None:
    """The model of a run's folder."""
    from prunus.models import lenet5

    storage.save(lenet5(10, 1, LENGTH).eval(), folder / "model.safetensors")


def read_result(folder: Path) -> Any:
    from prunus.report.result import read

    return read(folder / "result.json")


def read_run(folder: Path) -> Any:
    from prunus.runs.loading import open_model

    opened = open_model(str(folder))
    return [type(opened.model).__name__, opened.input_shape, opened.normalise]


def training(folder: Path) -> None:
    result(folder)
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").unlink()
    (folder / "training.json").write_text(
        json.dumps({"command": "prunus train", "model": record["model"], "accuracy": 90.0, "training": {}})
    )


def read_training(folder: Path) -> Any:
    from prunus.runs.records import read_training

    return [read_training(folder / "training.json"), read_run(folder)]


def recipe(folder: Path, suffix: str) -> None:
    from prunus.runs.recipe import Recipe

    text = Recipe("digits", "lenet5", milestones=(0.3, 0.6)).to_toml()
    (folder / f"recipe{suffix}").write_text(text if suffix == ".toml" else text.replace(" = ", ": "))


def read_recipe(path: Path) -> Any:
    from prunus.runs.recipe import read, resolve

    return vars(resolve(read(path), path.name))


def plan(folder: Path) -> None:
    (folder / "plan.json").write_text(planned()[1].to_json())


def read_plan(folder: Path) -> Any:
    plan = prunus.Plan.from_json((folder / "plan.json").read_bytes().decode("utf-8", "surrogateescape"))
    return [plan.groups, plan.fingerprint, plan.inputs, plan.before, plan.after, plan.notes]


def weights(folder: Path) -> None:
    torch.save({"state_dict": small().state_dict()}, folder / "weights.pth")


def safe_weights(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(small().state_dict(), folder / "weights.safetensors")


def read_weights(path: Path) -> Any:
    from prunus.models import load_weights

    model = small()
    load_weights(model, path)
    return model


def history(folder: Path) -> Any:
    from prunus.scores.history import from_checkpoints

    return from_checkpoints(prunus.trace(small(), EXAMPLE), [folder / "weights.safetensors"] * 2)


def tables(folder: Path) -> Any:
    """The cache of latencies; what is not in it is measured anew, by arithmetic."""
    from prunus.measure.probe import Probed
    from prunus.measure.shapes import Shape

    shapes = [Shape("linear", 3, (), (), (), (), (), (), 1, 32, outputs) for outputs in (10, 12)]
    probed = Probed("fake", lambda shape, pairs, threads: [1.0 + a * b * 1e-5 for a, b in pairs], 1, folder)
    found = [torch.from_numpy(table.times.copy()) for table in probed.tables(shapes).values()]
    if not (folder / "latency.json").exists():
        probed.file.rename(folder / "latency.json")
    return found


def read_tables(folder: Path) -> Any:
    from prunus.measure.probe import Probed

    (folder / "latency.json").replace(Probed("fake", lambda shape, pairs, threads: [], 1, folder).file)
    return tables(folder)


def onnx(folder: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    weight = np.linspace(-1, 1, 4 * 9, dtype=np.float32).reshape(4, 1, 3, 3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["y"], name="pool"),
    ]
    value = helper.make_tensor_value_info
    ends = (
        [value("x", TensorProto.FLOAT, [1, 1, LENGTH, LENGTH])],
        [value("y", TensorProto.FLOAT, [1, 4, 1, 1])],
    )
    graph = helper.make_graph(nodes, "graph", *ends, [numpy_helper.from_array(weight, "w")])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        str(folder / "model.onnx"),
    )


def read_onnx(folder: Path) -> Any:
    from prunus.deploy.onnx_file import runner, taken

    return [taken(folder / "model.onnx"), bool(runner(folder / "model.onnx"))]


def read_layers(folder: Path) -> Any:
    from prunus.deploy.int8 import layers

    return layers(folder / "model.onnx")
