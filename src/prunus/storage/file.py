"""`save` and `load`: one safetensors file with the plan in its header. No pickle.

Format (schema 1): the tensors under their first names; in the metadata, under "prunus", a JSON object with
the schema, the mode ("dense", "eager" or "traced"), the plan, the attributes that surgery changed, the
residual blocks that were left out, the traced graph if there is one, and a SHA-256 of all that and of all
tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from prunus._foundation.atomic import write_atomically
from prunus.errors import FileFormatError, PlanError, clause
from prunus.paint.model_copy import copy_model, meta_twin, named_tensors, walk
from prunus.paint.widths import Width, can_keep, kept_in, set_widths
from prunus.plans.plan import check_fingerprint
from prunus.storage.digest import CHECKSUM, digest
from prunus._foundation.finite import warn_of_nonfinite
from prunus.storage.header import SCHEMA, Header, is_size, parse
from prunus.storage.lock import settle
from prunus.storage.traced_format import rehearse_data, traced_from_data, traced_to_data
from prunus.surgery.blocks import left_out, without_blocks
from prunus.surgery.origin import Origin
from prunus.surgery.places import set_size, size_at
from prunus.surgery.slicing import Rebind, Surgery
from prunus.surgery.traced.module import TracedModule

IN_FOLDER = "model.safetensors"  # the name of a run's model


def save(model: nn.Module, path: str | Path) -> None:
    """Write a compact (or dense) model to a safetensors file, atomically.

    A compact model of its own class is restored into a fresh `build_model()`; a traced one stands alone.

    Raises FileFormatError if the traced graph holds something that has no form in a file, or that `load`
    would refuse.
    """
    path = Path(path)
    origin = getattr(model, "prunus", None)
    tensors = {name: t.detach().to("cpu").contiguous() for name, t in named_tensors(model).items()}
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
    widths = kept_in(walk(model))
    if widths:
        header["widths"] = [list(width) for width in widths]
    if left_out(model) and not isinstance(model, TracedModule):
        header["left_out"] = list(left_out(model))
    header = json.loads(json.dumps(header))
    _check_readable(header, tensors)
    header[CHECKSUM] = digest(tensors, header)
    write_atomically(path, to_bytes(tensors, metadata={"prunus": json.dumps(header)}))


def load(
    path: str | Path, build_model: Callable[[], nn.Module] | None = None, device: str | torch.device = "cpu"
) -> nn.Module:
    """Read a model written by `save`.

    Args:
        path: the file, or the folder of a run, whose `model.safetensors` it is.
        build_model: makes the dense model that the file's model was cut from, with any weights and all its
            blocks; not needed for a traced model.
        device: where the tensors go.

    Raises:
        FileFormatError: the file is truncated, tampered with, not written by prunus, or needs `build_model`.
        PlanError: `build_model` makes another model than the one that was cut.
    """
    path, device = _file_in(Path(path)), torch.device(device)
    header, tensors = _read(path)
    warn_of_nonfinite(tensors, str(path))
    tensors = {name: t.to(device) for name, t in tensors.items()}
    dense: nn.Module | None = None
    try:
        if header.traced is not None:
            model: nn.Module = traced_from_data(header.traced, tensors, device)
        elif build_model is not None:
            model, dense = _load_eager(path, header, tensors, build_model().to(device))
        else:
            raise FileFormatError(
                f"It holds a {header.class_name} in its own class; give build_model=, a function that makes"
                " the dense model."
            )
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {clause(error)}.") from error
    _keep_widths(path, model, header.widths)
    for name, parameter in model.named_parameters():
        if name not in header.frozen and not (parameter.is_floating_point() or parameter.is_complex()):
            raise FileFormatError(
                f"{path} cannot be loaded: it holds the parameter {name} as {parameter.dtype}, which cannot"
                " be trained."
            )
        parameter.requires_grad_(name not in header.frozen)
    model.train(header.training)
    if header.plan is not None:
        object.__setattr__(
            model, "prunus", Origin(header.plan, header.mode, Surgery({}, header.rebinds), None, dense=dense)
        )
    return model


def _file_in(path: Path) -> Path:
    """The model of a run, where its folder is named."""
    return path / IN_FOLDER if path.is_dir() else path


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


def read_header(path: str | Path) -> Mapping[str, Any]:
    """What a file says of itself: mode, class, plan (JSON text). Raises FileFormatError."""
    return _open(Path(path))[0]


def _load_eager(
    path: Path, header: Header, tensors: dict[str, Tensor], model: nn.Module
) -> tuple[nn.Module, nn.Module]:
    """The compact model, and without data the dense one that it was cut from."""
    kind = type(model).__name__
    missing = [name for name in header.left_out if name not in left_out(model)]
    model = without_blocks(model, missing) if missing else model
    if header.plan is not None:
        check_fingerprint(header.plan, model)
    own = named_tensors(model)
    for name, old in own.items():
        if name not in tensors:
            raise PlanError(
                f"{kind} has a tensor {name} that {path} does not hold; build_model makes another model."
            )
        _check_shape(path, kind, name, old, tensors[name], cut=header.plan is not None)
    result = copy_model(model, {id(old): _like(old, tensors[name]) for name, old in own.items()})
    for name in tensors:
        if name not in own:
            _add_bias(path, result, name, tensors[name])
    for rebind in header.rebinds:
        _rebind(result, rebind)
    return result, meta_twin(model).model


def _check_shape(path: Path, kind: str, name: str, old: Tensor, new: Tensor, cut: bool) -> None:
    """A dense file must have the model's shapes, a cut one at most those."""
    fits = (
        new.dim() == old.dim() and all(n <= o for n, o in zip(new.shape, old.shape))
        if cut
        else new.shape == old.shape
    )
    if not fits:
        raise PlanError(
            f"{path} holds {name} with shape {tuple(new.shape)}, but {kind} has {tuple(old.shape)};"
            " build_model makes another model."
        )


def _rebind(model: nn.Module, rebind: Rebind) -> None:
    """Set a size that surgery changed, where the model has one of the same kind."""
    module = dict(model.named_modules(remove_duplicate=False)).get(rebind.module)
    old = None if module is None else size_at(module, rebind.name)
    if module is None or not is_size(old) or isinstance(old, int) != isinstance(rebind.value, int):
        raise FileFormatError(
            f"It sets {rebind.name!r} of module {rebind.module!r}, which {type(model).__name__} does not have"
            " or not as such a size."
        )
    set_size(module, rebind.name, rebind.value)


def _keep_widths(path: Path, model: nn.Module, widths: Sequence[Width]) -> None:
    """Let norms go on dividing by as many channels as there were."""
    modules = walk(model)
    for width in widths:
        if width.module not in modules or not can_keep(modules[width.module]):
            raise FileFormatError(
                f"{path} cannot be loaded: it keeps the width of {width.module!r}, which"
                f" {type(model).__name__} does not have so."
            )
    set_widths(modules, widths)


def _like(old: Tensor, new: Tensor) -> Tensor:
    return nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new


def _add_bias(path: Path, model: nn.Module, name: str, tensor: Tensor) -> None:
    """A bias that folding created, where the dense layer had none."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = model.get_submodule(module_name)
    except AttributeError:
        module = None
    if module is None or attribute != "bias" or module._parameters.get("bias", 0) is not None:
        raise PlanError(
            f"{path} holds a tensor {name} that {type(model).__name__} does not have; build_model makes"
            " another model."
        )
    module.bias = nn.Parameter(tensor, requires_grad=False)


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
