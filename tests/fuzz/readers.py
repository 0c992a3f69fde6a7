"""One table of everything that the package reads: how a good file is made, how it is read, whether a checksum
is promised, and how it is forged.
"""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import replace

import prunus
from prunus import storage
from tests.fuzz import mutations, parts
from tests.fuzz.of_data import (
    archive,
    cifar,
    classes,
    idx,
    masks,
    picture,
    raster,
    read_archive,
    read_cifar,
    read_classes,
    read_idx,
    read_masks,
    read_picture,
    read_raster,
    segmented,
)
from tests.fuzz.of_networks import (
    coded,
    coded_onnx,
    coded_traced,
    eager,
    gates,
    history,
    onnx,
    plan,
    read_coded_onnx,
    read_gates,
    read_layers,
    read_onnx,
    read_plan,
    read_recipe,
    read_result,
    read_run,
    read_tables,
    read_training,
    read_weights,
    recipe,
    result,
    safe_weights,
    small,
    tables,
    traced,
    trained,
    training,
    tree,
    weights,
)
from tests.fuzz.reader import Reader

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
        lambda f: picture(f, suffix),
        lambda f: read_picture(f / file),
        share=3,
        needs=("PIL",),
    )


READERS: tuple[Reader, ...] = (
    Reader(
        "model",
        "model.safetensors",
        eager,
        lambda f: prunus.load(f / "model.safetensors", small),
        True,
        _MODEL,
        _OUTER,
        4,
    ),
    Reader(
        "traced model",
        "model.safetensors",
        traced,
        lambda f: prunus.load(f / "model.safetensors"),
        True,
        _MODEL,
        _OUTER,
        4,
    ),
    Reader(
        "header",
        "model.safetensors",
        eager,
        lambda f: dict(storage.read_header(f / "model.safetensors")),
        True,
        _MODEL,
        _OUTER,
    ),
    Reader(
        "coded network",
        "model.prunus",
        coded,
        lambda f: [prunus.load(f / "model.prunus"), storage.read_about(f / "model.prunus")],
        True,
        _CODED,
        {},
        4,
    ),
    Reader(
        "coded traced network",
        "model.prunus",
        coded_traced,
        lambda f: prunus.load(f / "model.prunus"),
        True,
        {**_CODED, "document": mutations.in_document(parts.coded_document)},
        {},
        4,
    ),
    Reader("coded network's ONNX file", "model.prunus", coded_onnx, read_coded_onnx, True, _CODED, {}, 2),
    Reader(
        "checkpoint",
        "tree.safetensors",
        tree,
        lambda f: storage.read_tree(f / "tree.safetensors"),
        True,
        _TREE,
        _OUTER,
        4,
    ),
    Reader("resumed training", "checkpoint.safetensors", trained, trained, True, _TREE, _OUTER),
    Reader("gates", "gates.safetensors", gates, read_gates, True, _TREE, _OUTER, 1),
    Reader("plan", "plan.json", plan, read_plan, True, _JSON, {}, 4),
    Reader("result", "result.json", result, read_result, edits=_JSON),
    Reader("run folder", "result.json", result, read_run, edits=_JSON),
    Reader("training", "training.json", training, read_training, edits=_JSON),
    Reader(
        "recipe in TOML",
        "recipe.toml",
        lambda f: recipe(f, ".toml"),
        lambda f: read_recipe(f / "recipe.toml"),
    ),
    Reader(
        "recipe in YAML",
        "recipe.yaml",
        lambda f: recipe(f, ".yaml"),
        lambda f: read_recipe(f / "recipe.yaml"),
        needs=("yaml",),
    ),
    Reader("idx images", "train-images-idx3-ubyte", idx, read_idx, share=4),
    Reader("idx labels", "t10k-labels-idx1-ubyte", idx, read_idx),
    Reader(
        "gzipped idx images",
        "train-images-idx3-ubyte.gz",
        lambda f: idx(f, gzip.compress),
        read_idx,
        edits=_GZIP,
        share=4,
    ),
    Reader("CIFAR file", "test_batch.bin", cifar, read_cifar),
    Reader("CIFAR archive", "set.tar.gz", archive, read_archive, edits=_GZIP),
    *(_pictures(suffix) for suffix in (".jpg", ".gif", ".bmp", ".ppm", ".webp", ".tif")),
    replace(_pictures(".png"), edits=_PNG, share=4),
    Reader("image folder", "set/a/1.png", classes, read_classes, edits=_PNG, needs=("PIL",)),
    Reader("image folder with a camera's notes", "set/a/0.jpg", classes, read_classes, needs=("PIL",)),
    Reader("pictures with masks", "masks/a.png", masks, read_masks, edits=_PNG, needs=("PIL",)),
    Reader("raster", "raster.tif", raster, read_raster, needs=("rasterio",)),
    Reader(
        "segmented picture",
        "picture.png",
        lambda f: picture(f, ".png"),
        segmented,
        edits=_PNG,
        share=1,
        needs=("PIL",),
    ),
    Reader("weights", "weights.pth", weights, lambda f: read_weights(f / "weights.pth"), share=3),
    Reader(
        "safe weights",
        "weights.safetensors",
        safe_weights,
        lambda f: read_weights(f / "weights.safetensors"),
        edits=_OUTER,
        share=3,
    ),
    Reader("history of weights", "weights.safetensors", safe_weights, history, edits=_OUTER, share=1),
    Reader("table of latencies", "latency.json", tables, read_tables, True, _JSON, {}, 4),
    Reader("ONNX file", "model.onnx", onnx, read_onnx, share=3, needs=_ONNX),
    Reader("ONNX file to quantise", "model.onnx", onnx, read_layers, share=1, needs=_ONNX),
)


def available() -> tuple[Reader, ...]:
    """Those whose packages are installed."""
    return tuple(
        reader for reader in READERS if all(importlib.util.find_spec(package) for package in reader.needs)
    )
