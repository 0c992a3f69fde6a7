"""`save` and `load`: one safetensors file with the plan in its header. No pickle.

Format (schema 1): the tensors under their first names; in the metadata, under "prunus", a JSON object with the schema, the mode ("dense", "eager" or
"traced"), the plan, the attributes that surgery changed, the traced graph if there is one, and a SHA-256 of all tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..channels.compact import Origin
from ..channels.plan import Plan, check_fingerprint
from ..channels.surgery import Rebind, Surgery
from ..channels.traced import TracedBatchNorm, TracedModule, install_batch_norm
from ..channels.twin import copy_model, named_tensors
from ..errors import FileFormatError, PlanError
from .graph_json import graph_from_data, graph_to_data

_SCHEMA = 1


def save(model: nn.Module, path: str | Path) -> None:
    """Write a compact (or dense) model to a safetensors file, atomically.

    A compact model of its own class is restored into a fresh `build_model()`; a traced one stands alone.

    Raises FileFormatError if the traced graph holds something that has no form in a file.
    """
    path = Path(path)
    origin = getattr(model, "prunus", None)
    tensors = {name: t.detach().to("cpu").contiguous() for name, t in named_tensors(model).items()}
    header: dict[str, Any] = {
        "schema": _SCHEMA,
        "class": type(model).__name__,
        "training": model.training,
        "sha256": _digest(tensors),
    }
    header["frozen"] = [name for name, p in model.named_parameters() if not p.requires_grad]
    header["mode"] = origin.mode if isinstance(origin, Origin) else "traced" if isinstance(model, TracedModule) else "dense"
    if isinstance(origin, Origin):
        header["plan"] = origin.plan.to_json()
        header["rebinds"] = [asdict(r) | {"tuple": isinstance(r.value, tuple)} for r in origin.surgery.rebinds]
    if isinstance(model, TracedModule):
        buffers = {name for name, _ in model.named_buffers()}
        header["buffers"] = sorted(buffers)
        header["graph"] = graph_to_data(model.graph)
        header["norms"] = {n: [m.eps, m.momentum] for n, m in model.named_modules() if isinstance(m, TracedBatchNorm)}
    write_atomically(path, to_bytes(tensors, metadata={"prunus": json.dumps(header)}))


def load(path: str | Path, build_model: Callable[[], nn.Module] | None = None, device: str | torch.device = "cpu") -> nn.Module:
    """Read a model written by `save`.

    Args:
        path: the file.
        build_model: makes the dense model that the file's model was cut from, with any weights; not needed for a traced model.
        device: where the tensors go.

    Raises:
        FileFormatError: the file is truncated, tampered with, not written by prunus, or needs `build_model`.
        PlanError: `build_model` makes another model than the one that was cut.
    """
    path, device = Path(path), torch.device(device)
    header, tensors = _read(path)
    tensors = {name: t.to(device) for name, t in tensors.items()}
    if header["mode"] == "traced":
        model = _load_traced(path, header, tensors, device)
    else:
        if build_model is None:
            raise FileFormatError(
                f"{path} holds a {header['class']} cut from its own class; give build_model=, a function that makes the dense model"
            )
        model = _load_eager(path, header, tensors, build_model().to(device))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in header["frozen"])
    model.train(header["training"])
    if "plan" in header:
        rebinds = _rebinds(header)
        object.__setattr__(model, "prunus", Origin(Plan.from_json(header["plan"]), header["mode"], Surgery({}, rebinds), None))
    return model


def read_header(path: str | Path) -> Mapping[str, Any]:
    """What a file says of itself: mode, class, plan (JSON text). Raises FileFormatError."""
    return _open(Path(path))[0]


def _load_eager(path: Path, header: Mapping[str, Any], tensors: dict[str, Tensor], model: nn.Module) -> nn.Module:
    if "plan" in header:
        check_fingerprint(Plan.from_json(header["plan"]), model)
    own = named_tensors(model)
    missing = [name for name in own if name not in tensors]
    if missing:
        raise PlanError(f"{type(model).__name__} has a tensor {missing[0]} that {path} does not hold; build_model makes another model")
    replace = {id(old): _like(old, tensors[name]) for name, old in own.items()}
    result = copy_model(model, replace)
    for name in tensors:
        if name not in own:
            _add_bias(path, result, name, tensors[name])
    for rebind in _rebinds(header):
        setattr(result.get_submodule(rebind.module), rebind.name, rebind.value)
    return result


def _like(old: Tensor, new: Tensor) -> Tensor:
    return nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new


def _add_bias(path: Path, model: nn.Module, name: str, tensor: Tensor) -> None:
    """A bias that folding created, where the dense layer had none."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = model.get_submodule(module_name)
    except AttributeError:
        module = None
    if module is None or attribute != "bias" or module._parameters.get("bias", 0) is not None:
        raise PlanError(f"{path} holds a tensor {name} that {type(model).__name__} does not have; build_model makes another model")
    module.bias = nn.Parameter(tensor)


def _load_traced(path: Path, header: Mapping[str, Any], tensors: dict[str, Tensor], device: torch.device) -> nn.Module:
    shell = nn.Module()
    for name, tensor in tensors.items():
        parts = name.split(".")
        owner = _container(shell, parts[:-1])
        if name in header["buffers"]:
            owner.register_buffer(parts[-1], tensor)
        else:
            owner.register_parameter(parts[-1], nn.Parameter(tensor, requires_grad=tensor.dtype.is_floating_point))
    if "graph" not in header:
        raise FileFormatError(f"{path} says that it holds a traced model but has no graph")
    norms = header["norms"]
    for name, (eps, momentum) in norms.items():
        install_batch_norm(shell, name, momentum, eps)
    return TracedModule(shell, graph_from_data(header["graph"], tensors, norms, device))


def _container(shell: nn.Module, parts: list[str]) -> nn.Module:
    """The module at a path, with plain modules made on the way."""
    for part in parts:
        if part not in shell._modules:
            shell.add_module(part, nn.Module())
        shell = shell.get_submodule(part)
    return shell


def _rebinds(header: Mapping[str, Any]) -> tuple[Rebind, ...]:
    return tuple(Rebind(r["module"], r["name"], tuple(r["value"]) if r["tuple"] else r["value"]) for r in header.get("rebinds", ()))


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileFormatError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{path} is not a whole safetensors file ({error}); it may be truncated") from error
    try:
        header = json.loads(metadata["prunus"])
        known = header["schema"] == _SCHEMA and header["mode"] in ("dense", "eager", "traced")
    except (KeyError, ValueError, TypeError) as error:
        raise FileFormatError(f"{path} was not written by prunus: its header has no prunus entry; plain weights are read by load_weights") from error
    if not known:
        raise FileFormatError(f"{path} has schema {header['schema']!r}; this version of prunus reads schema {_SCHEMA}")
    return header, tensors


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header, tensors = _open(path)
    if _digest(tensors) != header.get("sha256"):
        raise FileFormatError(f"{path} has been changed since it was written: its checksum does not fit its tensors")
    return header, tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(np.asarray(tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.zeros(0)).tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside the target, then rename, so that nobody ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
