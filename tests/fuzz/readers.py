"""One table of everything that the package reads: how a good file is made, how it is read, whether a checksum
is promised, and how it is forged.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import struct
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import prunus
from prunus import storage
from tests.fuzz import mutations, parts
from tests.fuzz.mutations import Change

LENGTH = 8  # pixels of all pictures


@dataclass(frozen=True)
class Reader:
    """Something that reads a file.

    Attributes:
        name: of it.
        file: name of the file that is damaged.
        make: writes it, and what lies beside it, into a folder.
        read: the folder -> what was read, anything that `canonical` knows.
        checked: a checksum is promised: changed content is never taken for whole. It is kept only where the
            good file has one.
        forged: changes with checksums that fit again, by name.
        edits: changes that know the format, without a checksum to fit.
        share: how many mutations it gets for one of others.
        needs: packages.
    """

    name: str
    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    checked: bool = False
    forged: Mapping[str, Change] = field(default_factory=dict)
    edits: Mapping[str, Change] = field(default_factory=dict)
    share: int = 2
    needs: tuple[str, ...] = ()


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


def _eager(folder: Path) -> None:
    model, plan = planned()
    prunus.save(prunus.compact(model, plan), folder / "model.safetensors")


def _traced(folder: Path) -> None:
    from prunus.surgery.traced.export import export_module

    prunus.save(export_module(small(), ((EXAMPLE,), {})), folder / "model.safetensors")


def _coded(folder: Path) -> None:
    """A compact network of the catalogue, with tensors of all kinds."""
    model = lenet(2)
    graph = prunus.trace(model, EXAMPLE)
    model = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.8))
    storage.save_coded(model, _grids(model), folder / "model.prunus", about={"made": "here"}, plan=True)


def lenet(seed: int) -> nn.Module:
    """A network of the catalogue that is read in no time."""
    from prunus.models import lenet5

    torch.manual_seed(seed)
    return lenet5(3, 1, LENGTH).eval()


def _grids(model: nn.Module) -> dict[str, Any]:
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


def _coded_traced(folder: Path) -> None:
    from prunus.surgery.traced.export import export_module

    model = export_module(small(), ((EXAMPLE,), {}))
    storage.save_coded(model, _grids(model), folder / "model.prunus")


def _coded_onnx(folder: Path) -> None:
    from prunus.coding import Plain, container
    from prunus.coding.skeleton import PERMUTED, RESHAPED, SUM, Reference, write
    from prunus.coding.table import Entry
    from prunus.storage.coded_network import OWN, Network, to_bytes

    network = Network(OWN, "Net", False, False, {})
    entries = [Entry(one) for one in _grids(lenet(0)).values()] + [
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


def _read_coded_onnx(folder: Path) -> Any:
    from prunus.deploy.skeleton import write_onnx

    kept = write_onnx(folder / "model.prunus", folder / "model.onnx", int8=True)
    write_onnx(folder / "model.prunus", folder / "plain.onnx")
    return [kept, (folder / "model.onnx").read_bytes(), (folder / "plain.onnx").read_bytes()]


def _tree(folder: Path) -> None:
    storage.write_tree(
        folder / "tree.safetensors",
        {"a": [1, 2.5, None, True, "x"], 3: {"t": torch.arange(6.0), "e": torch.zeros(0)}},
    )


def _trained(folder: Path) -> Any:
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


def _gates(folder: Path) -> None:
    from prunus.dynamic import attach, save_gates

    save_gates(attach(small(), EXAMPLE, ["block.0"], "activation"), folder / "gates.safetensors")


def _read_gates(folder: Path) -> Any:
    from prunus.dynamic import load_gates

    network = load_gates(small(), EXAMPLE, folder / "gates.safetensors")
    return [network, network.strictness, network.knob, network.dense_macs]


def _result(folder: Path) -> None:
    _eager(folder)
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
    _run_model(folder)


def _run_model(folder: Path) -> None:
    """The model of a run's folder."""
    from prunus.models import lenet5

    storage.save(lenet5(10, 1, LENGTH).eval(), folder / "model.safetensors")


def _read_result(folder: Path) -> Any:
    from prunus.report.result import read

    return read(folder / "result.json")


def _read_run(folder: Path) -> Any:
    from prunus.runs.loading import open_model

    opened = open_model(str(folder))
    return [type(opened.model).__name__, opened.input_shape, opened.normalise]


def _training(folder: Path) -> None:
    _result(folder)
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").unlink()
    (folder / "training.json").write_text(
        json.dumps({"command": "prunus train", "model": record["model"], "accuracy": 90.0, "training": {}})
    )


def _read_training(folder: Path) -> Any:
    from prunus.runs.records import read_training

    return [read_training(folder / "training.json"), _read_run(folder)]


def _recipe(folder: Path, suffix: str) -> None:
    from prunus.runs.recipe import Recipe

    text = Recipe("digits", "lenet5", milestones=(0.3, 0.6)).to_toml()
    (folder / f"recipe{suffix}").write_text(text if suffix == ".toml" else text.replace(" = ", ": "))


def _read_recipe(path: Path) -> Any:
    from prunus.runs.recipe import read, resolve

    return vars(resolve(read(path), path.name))


def _idx(folder: Path, pack: Callable[[bytes], bytes] = bytes) -> None:
    suffix = "" if pack is bytes else ".gz"
    for part, count in (("train", 6), ("t10k", 3)):
        pixels, labels = bytes(i % 251 for i in range(count * LENGTH**2)), bytes(i % 10 for i in range(count))
        images = b"\0\0\x08\x03" + struct.pack(">III", count, LENGTH, LENGTH) + pixels
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(images))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(
            pack(b"\0\0\x08\x01" + struct.pack(">I", count) + labels)
        )


def _read_idx(folder: Path) -> Any:
    from prunus.data.idx import MNIST, load_idx

    return _samples(load_idx(MNIST, folder, False))


def _cifar(folder: Path) -> None:
    for number, file in enumerate(_few().files):
        (folder / file).write_bytes(bytes((i * 7 + number) % 10 for i in range(2 * 3073)))


def _few() -> Any:
    """CIFAR-10 with two pictures a file."""
    from prunus.data.cifar import CIFAR10

    return replace(CIFAR10, records=dict.fromkeys(CIFAR10.records, 2))


def _read_cifar(folder: Path) -> Any:
    from prunus.data.cifar import load_cifar

    return _samples(load_cifar(_few(), folder, False))


def _archive(folder: Path) -> None:
    _cifar(folder)
    with tarfile.open(folder / "set.tar.gz", "w:gz") as tar:
        for file in _few().files:
            tar.add(folder / file, f"{_few().folder}/{file}")
            (folder / file).unlink()


def _read_archive(folder: Path) -> Any:
    from prunus.data.cifar import extract

    extract(folder / "set.tar.gz", folder / "out", _few())
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def _samples(data: Any) -> Any:
    return [data.train.images, data.train.labels, data.test.images, data.test.labels]


def _picture(folder: Path, suffix: str) -> None:
    from PIL import Image

    pixels = np.arange(3 * LENGTH**2, dtype=np.uint8).reshape(LENGTH, LENGTH, 3)
    Image.fromarray(pixels).save(folder / f"picture{suffix}")


def _read_picture(path: Path) -> Any:
    from prunus.data.pictures import open_picture

    picture = open_picture(path)
    return picture.read(0, 0, *picture.shape[1:])


def _classes(folder: Path) -> None:
    from PIL import Image

    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (LENGTH, LENGTH), (1, 2, 3)).save(folder / "set" / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (LENGTH, 5), (9, 9, 9)).save(folder / "set" / "a" / "0.jpg", exif=exif)


def _read_classes(folder: Path) -> Any:
    from prunus.data.folder import load_folder

    return _samples(load_folder(folder / "set", LENGTH))


def _masks(folder: Path) -> None:
    from PIL import Image

    for name in "ab":
        for kind, mode, colour in (("images", "RGB", (9, 8, 7)), ("masks", "L", 1)):
            (folder / kind).mkdir(exist_ok=True)
            Image.new(mode, (LENGTH, LENGTH), colour).save(folder / kind / f"{name}.png")


def _read_masks(folder: Path) -> Any:
    from prunus.data.picture_sets import load_pictures

    found = load_pictures(folder)
    return [
        found.classes,
        found.mean,
        [example.picture.read(0, 0, LENGTH, LENGTH) for example in found.train],
    ]


def _raster(folder: Path) -> None:
    import rasterio

    options = {
        "driver": "GTiff",
        "height": 64,
        "width": 64,
        "count": 1,
        "dtype": "uint8",
        "compress": "deflate",
        "tiled": True,
    }
    with rasterio.open(
        folder / "raster.tif", "w", blockxsize=32, blockysize=32, transform=(0.3, 0, 1, 0, -0.3, 1), **options
    ) as file:
        file.write(np.arange(4096, dtype=np.uint8).reshape(1, 64, 64))


def _read_raster(folder: Path) -> Any:
    from prunus.data.pictures import Raster

    raster = Raster(folder / "raster.tif")
    return [raster.shape, raster.read(0, 0, 40, 64)]


def _segmented(folder: Path) -> Any:
    from prunus.segmentation.files import segment_file

    return segment_file(
        nn.Conv2d(3, 1, 1),
        folder / "picture.png",
        folder / "mask.png",
        folder / "look.png",
        ((0.5,) * 3, (0.5,) * 3),
        tile=16,
        overlap=2,
    )


def _weights(folder: Path) -> None:
    torch.save({"state_dict": small().state_dict()}, folder / "weights.pth")


def _safe_weights(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(small().state_dict(), folder / "weights.safetensors")


def _read_weights(path: Path) -> Any:
    from prunus.models import load_weights

    model = small()
    load_weights(model, path)
    return model


def _history(folder: Path) -> Any:
    from prunus.scores.history import from_checkpoints

    return from_checkpoints(prunus.trace(small(), EXAMPLE), [folder / "weights.safetensors"] * 2)


def _tables(folder: Path) -> Any:
    """The cache of latencies; what is not in it is measured anew, by arithmetic."""
    from prunus.measure.probe import Probed
    from prunus.measure.shapes import Shape

    shapes = [Shape("linear", 3, (), (), (), (), (), (), 1, 32, outputs) for outputs in (10, 12)]
    probed = Probed("fake", lambda shape, pairs, threads: [1.0 + a * b * 1e-5 for a, b in pairs], 1, folder)
    found = [torch.from_numpy(table.times.copy()) for table in probed.tables(shapes).values()]
    if not (folder / "latency.json").exists():
        probed.file.rename(folder / "latency.json")
    return found


def _read_tables(folder: Path) -> Any:
    from prunus.measure.probe import Probed

    (folder / "latency.json").replace(Probed("fake", lambda shape, pairs, threads: [], 1, folder).file)
    return _tables(folder)


def _onnx(folder: Path) -> None:
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


def _read_onnx(folder: Path) -> Any:
    from prunus.deploy.onnx import input_shape, runner

    return [input_shape(folder / "model.onnx"), bool(runner(folder / "model.onnx"))]


def _read_layers(folder: Path) -> Any:
    from prunus.deploy.int8 import layers

    return layers(folder / "model.onnx")


_OUTER = {"header": mutations.in_document(parts.outer)}
_JSON = {"document": mutations.in_document(parts.plain)}
_MODEL, _TREE = (
    {"document": mutations.in_document(parts.metadata(key))} for key in ("prunus", "prunus_checkpoint")
)
_CODED = {"sections": mutations.coded_sections, "table": mutations.coded_table}
_GZIP, _PNG = {"packed": mutations.gzipped}, {"chunks": mutations.png_chunks}
_ONNX = ("onnx", "onnxruntime")


def _pictures(suffix: str) -> Reader:
    """Of one format."""
    file = f"picture{suffix}"
    return Reader(
        f"picture {suffix}",
        file,
        lambda f: _picture(f, suffix),
        lambda f: _read_picture(f / file),
        share=3,
        needs=("PIL",),
    )


def _plan(folder: Path) -> None:
    (folder / "plan.json").write_text(planned()[1].to_json())


def _read_plan(folder: Path) -> Any:
    plan = prunus.Plan.from_json((folder / "plan.json").read_bytes().decode("utf-8", "surrogateescape"))
    return [plan.groups, plan.fingerprint, plan.inputs, plan.before, plan.after, plan.notes]


READERS: tuple[Reader, ...] = (
    Reader(
        "model",
        "model.safetensors",
        _eager,
        lambda f: prunus.load(f / "model.safetensors", small),
        True,
        _MODEL,
        _OUTER,
        4,
    ),
    Reader(
        "traced model",
        "model.safetensors",
        _traced,
        lambda f: prunus.load(f / "model.safetensors"),
        True,
        _MODEL,
        _OUTER,
        4,
    ),
    Reader(
        "header",
        "model.safetensors",
        _eager,
        lambda f: dict(storage.read_header(f / "model.safetensors")),
        True,
        _MODEL,
        _OUTER,
    ),
    Reader(
        "coded network",
        "model.prunus",
        _coded,
        lambda f: [prunus.load(f / "model.prunus"), storage.read_about(f / "model.prunus")],
        True,
        _CODED,
        {},
        4,
    ),
    Reader(
        "coded traced network",
        "model.prunus",
        _coded_traced,
        lambda f: prunus.load(f / "model.prunus"),
        True,
        {**_CODED, "document": mutations.in_document(parts.coded_document)},
        {},
        4,
    ),
    Reader("coded network's ONNX file", "model.prunus", _coded_onnx, _read_coded_onnx, True, _CODED, {}, 2),
    Reader(
        "checkpoint",
        "tree.safetensors",
        _tree,
        lambda f: storage.read_tree(f / "tree.safetensors"),
        True,
        _TREE,
        _OUTER,
        4,
    ),
    Reader("resumed training", "checkpoint.safetensors", _trained, _trained, True, _TREE, _OUTER),
    Reader("gates", "gates.safetensors", _gates, _read_gates, True, _TREE, _OUTER, 1),
    Reader("plan", "plan.json", _plan, _read_plan, True, _JSON, {}, 4),
    Reader("result", "result.json", _result, _read_result, edits=_JSON),
    Reader("run folder", "result.json", _result, _read_run, edits=_JSON),
    Reader("training", "training.json", _training, _read_training, edits=_JSON),
    Reader(
        "recipe in TOML",
        "recipe.toml",
        lambda f: _recipe(f, ".toml"),
        lambda f: _read_recipe(f / "recipe.toml"),
    ),
    Reader(
        "recipe in YAML",
        "recipe.yaml",
        lambda f: _recipe(f, ".yaml"),
        lambda f: _read_recipe(f / "recipe.yaml"),
        needs=("yaml",),
    ),
    Reader("idx images", "train-images-idx3-ubyte", _idx, _read_idx, share=4),
    Reader("idx labels", "t10k-labels-idx1-ubyte", _idx, _read_idx),
    Reader(
        "gzipped idx images",
        "train-images-idx3-ubyte.gz",
        lambda f: _idx(f, gzip.compress),
        _read_idx,
        edits=_GZIP,
        share=4,
    ),
    Reader("CIFAR file", "test_batch.bin", _cifar, _read_cifar),
    Reader("CIFAR archive", "set.tar.gz", _archive, _read_archive, edits=_GZIP),
    *(_pictures(suffix) for suffix in (".jpg", ".gif", ".bmp", ".ppm", ".webp", ".tif")),
    replace(_pictures(".png"), edits=_PNG, share=4),
    Reader("image folder", "set/a/1.png", _classes, _read_classes, edits=_PNG, needs=("PIL",)),
    Reader("image folder with a camera's notes", "set/a/0.jpg", _classes, _read_classes, needs=("PIL",)),
    Reader("pictures with masks", "masks/a.png", _masks, _read_masks, edits=_PNG, needs=("PIL",)),
    Reader("raster", "raster.tif", _raster, _read_raster, needs=("rasterio",)),
    Reader(
        "segmented picture",
        "picture.png",
        lambda f: _picture(f, ".png"),
        _segmented,
        edits=_PNG,
        share=1,
        needs=("PIL",),
    ),
    Reader("weights", "weights.pth", _weights, lambda f: _read_weights(f / "weights.pth"), share=3),
    Reader(
        "safe weights",
        "weights.safetensors",
        _safe_weights,
        lambda f: _read_weights(f / "weights.safetensors"),
        edits=_OUTER,
        share=3,
    ),
    Reader("history of weights", "weights.safetensors", _safe_weights, _history, edits=_OUTER, share=1),
    Reader("table of latencies", "latency.json", _tables, _read_tables, True, _JSON, {}, 4),
    Reader("ONNX file", "model.onnx", _onnx, _read_onnx, share=3, needs=_ONNX),
    Reader("ONNX file to quantise", "model.onnx", _onnx, _read_layers, share=1, needs=_ONNX),
)


def available() -> tuple[Reader, ...]:
    """Those whose packages are installed."""
    return tuple(
        reader for reader in READERS if all(importlib.util.find_spec(package) for package in reader.needs)
    )


def mark_of(value: Any) -> str:
    """What tells one content from another: the same for equal content."""
    if isinstance(value, nn.Module):
        learning = [(name, parameter.requires_grad) for name, parameter in value.named_parameters()]
        return mark_of(
            [
                type(value).__name__,
                dict(value.state_dict()),
                learning,
                value.training,
                str(getattr(value, "graph", "")),
            ]
        )
    if isinstance(value, Tensor):
        content = (
            value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
        return f"{value.dtype}{tuple(value.shape)}{content.hex()}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key!r}:{mark_of(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(mark_of, value)) + "]"
    return repr(value)


def made(reader: Reader, folder: Path) -> bytes:
    """The good file, in a folder that is made."""
    (folder / os.path.dirname(reader.file)).mkdir(parents=True, exist_ok=True)  # noqa: PTH120
    reader.make(folder)
    return (folder / reader.file).read_bytes()
