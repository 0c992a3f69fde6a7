"""`save` and `load`: one safetensors file with the plan in its header. No pickle.

Format (schema 1): the tensors under their first names; in the metadata, under "prunus", a JSON object with
the schema, the mode ("dense", "eager" or "traced"), the plan, the attributes that surgery changed, the
residual blocks that were left out, the traced graph if there is one, and a SHA-256 of all that and of all
tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.atomic import write_atomically
from prunus._foundation.finite import warn_of_nonfinite
from prunus._foundation.system_faults import check_readable
from prunus._foundation.warned import warn
from prunus.errors import FileFormatError, clause
from prunus.paint.model_copy import meta_twin, named_tensors, unwrap, walk
from prunus.paint.widths import kept_in
from prunus.plans.plan import check_fingerprint
from prunus.storage.assembly import (
    dense_of,
    fill,
    keep_widths,
    rebind,
    set_learning,
    shortened,
    usable_device,
)
from prunus.storage.coded_file import is_coded_file, load_coded
from prunus.storage.digest import CHECKSUM, digest
from prunus.storage.header import SCHEMA, Header, parse
from prunus.storage.lock import settle
from prunus.storage.tensors import all_stored
from prunus.storage.traced_format import rehearse_data, traced_from_data, traced_to_data
from prunus.surgery.blocks import left_out
from prunus.surgery.origin import Origin
from prunus.surgery.slicing import Surgery
from prunus.surgery.traced.module import TracedModule

IN_FOLDER = "model.safetensors"  # the name of a run's model
CODED_IN_FOLDER = "model.prunus"  # and where it is coded alone


@door(FileFormatError)
def save(model: nn.Module, path: str | Path) -> None:
    """Write a compact (or dense) model to a safetensors file, atomically.

    A compact model of its own class is restored into a fresh `build_model()`; a traced one stands alone. Of
    wrappers (torch.compile's, data parallelism's, averaged weights) it is the model inside.

    Raises FileFormatError if a tensor or something in the traced graph has no form in a file, or if `load`
    would refuse it.
    """
    path, model = Path(path), unwrap(model)
    origin = getattr(model, "prunus", None)
    inner = [name for name, m in walk(model).items() if isinstance(vars(m).get("prunus"), Origin)]
    if inner and not isinstance(origin, Origin):
        warn(
            f"{inner[0]} of {type(model).__name__} is a compact model, which its file does not say:"
            " build_model of load must put it there, as prunus.load gives it from a file of its own."
        )
    tensors = all_stored(named_tensors(model))
    header: dict[str, Any] = {
        "schema": SCHEMA,
        "mode": (
            origin.mode
            if isinstance(origin, Origin)
            else "traced"
            if isinstance(model, TracedModule)
            else "dense"
        ),
        "class": type(model).__name__,
        "training": model.training,
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
    }
    if isinstance(origin, Origin):
        header["plan"] = origin.plan.to_json()
        header["rebinds"] = [
            asdict(r) | {"tuple": isinstance(r.value, tuple)} for r in origin.surgery.rebinds
        ]
    if isinstance(model, TracedModule):
        header |= traced_to_data(model)
    apart = [name for name, module in walk(model).items() if module.training != model.training]
    if apart:
        header["apart"] = apart
    widths = kept_in(walk(model))
    if widths:
        header["widths"] = [list(width) for width in widths]
    if left_out(model) and not isinstance(model, TracedModule):
        header["left_out"] = list(left_out(model))
    header = json.loads(json.dumps(header))
    _check_readable(header, tensors)
    header[CHECKSUM] = digest(tensors, header)
    write_atomically(path, to_bytes(tensors, metadata={"prunus": json.dumps(header)}))


@door(FileFormatError)
def load(
    path: str | Path, build_model: Callable[[], nn.Module] | None = None, device: str | torch.device = "cpu"
) -> nn.Module:
    """Read a model written by `save` or `save_coded`; which of them, its first bytes say.

    Args:
        path: the file, or the folder of a run, whose `model.safetensors` (or else `model.prunus`) it is.
        build_model: makes the dense model that the file's model was cut from, with any weights and all its
            blocks; not needed for a traced model, nor for a coded network of the catalogue.
        device: where the tensors go.

    Raises:
        FileFormatError: the file is truncated, tampered with, not written by prunus, or needs `build_model`.
        PlanError: `build_model` makes another model than the one that was cut.
    """
    path, device = file_in(Path(path)), usable_device(device)
    if is_coded_file(path):
        return load_coded(path, build_model, device)
    header, tensors = _read(path)
    warn_of_nonfinite(tensors, str(path))
    tensors = {name: t.to(device) for name, t in tensors.items()}
    dense: nn.Module | None = None
    try:
        if header.traced is not None:
            model: nn.Module = traced_from_data(header.traced, tensors, device)
        elif build_model is not None:
            model, dense = _load_eager(path, header, tensors, dense_of(build_model, device))
        else:
            raise FileFormatError(
                f"It holds a {header.class_name} in its own class; give build_model=, a function that makes"
                " the dense model."
            )
        keep_widths(model, header.widths)
        set_learning(model, header.frozen, header.training, header.apart)
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {clause(error)}.") from error
    if header.plan is not None:
        object.__setattr__(
            model, "prunus", Origin(header.plan, header.mode, Surgery({}, header.rebinds), None, dense=dense)
        )
    return model


def file_in(path: Path) -> Path:
    """The model of a run, where its folder is named."""
    if not path.is_dir():
        return path
    coded = path / CODED_IN_FOLDER
    return coded if coded.is_file() and not (path / IN_FOLDER).is_file() else path / IN_FOLDER


def _check_readable(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse, in the words of `load`, a traced model whose file could not be read again."""
    traced = Header.from_json(header).traced
    if traced is not None:
        try:
            rehearse_data(traced, tensors)
        except FileFormatError as error:
            raise FileFormatError(
                f"It could not be read again, so it is not saved: {clause(error)}; save its state_dict"
                " instead."
            ) from error


@door(FileFormatError)
def read_header(path: str | Path) -> Mapping[str, Any]:
    """What a file says of itself: mode, class, plan (JSON text). Raises FileFormatError."""
    return _open(Path(path))[0]


def _load_eager(
    path: Path, header: Header, tensors: dict[str, Tensor], model: nn.Module
) -> tuple[nn.Module, nn.Module]:
    """The compact model, and without data the dense one that it was cut from."""
    model = shortened(model, header.left_out)
    if header.plan is not None:
        check_fingerprint(header.plan, model)
    result = fill(str(path), model, tensors, cut=header.plan is not None)
    rebind(result, header.rebinds)
    return result, meta_twin(model).model


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file whose checksum fits."""
    settle(path.parent)
    if not path.is_file():
        raise FileFormatError(f"{path} does not exist.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # safetensors raises errors of many kinds for what it cannot read
        check_readable(path, error)
        if path.suffix == Path(CODED_IN_FOLDER).suffix:
            raise FileFormatError(f"{path} is no coded file: it begins with other bytes.") from error
        raise FileFormatError(
            f"{path} is not a whole safetensors file ({error}); it may be truncated."
        ) from error
    if "prunus" not in metadata:
        raise FileFormatError(
            f"{path} was not written by prunus: its header has no prunus entry; plain weights are read by"
            " load_weights."
        )
    try:
        header = parse(metadata["prunus"])
        if header.get(CHECKSUM) != digest(tensors, header):
            raise FileFormatError(
                "It has been changed since it was written: its checksum does not fit its header and tensors."
            )
        return header, tensors
    except (FileFormatError, RecursionError) as error:
        raise FileFormatError(f"{path} cannot be loaded: {clause(error)}.") from error


def _read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    data, tensors = _open(path)
    try:
        return Header.from_json(data), tensors
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {clause(error)}.") from error
