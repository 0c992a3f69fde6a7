"""Plain weight files: a `state_dict` of torch, or safetensors. Nothing is ever unpickled beyond tensors."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.finite import warn_of_nonfinite
from prunus._foundation.system_faults import check_readable
from prunus._foundation.wording import dtype_name
from prunus.coding.container import is_coded
from prunus.errors import FileFormatError

WRAPPERS = ("module.", "_orig_mod.")  # put before every name by DataParallel and by torch.compile
_OBJECT = re.compile(
    r"Unsupported (global|class|operand)|GLOBAL |not an allowed|can only (build|set|reduce|create)|Trying to"
    r" (call|build|instantiate)",
    re.I,
)
_NAME = re.compile(r"GLOBAL ([\w.]+)")
PACKED = 16 * 2**20  # bytes that the entries of an archive may be longer than the archive
HOLDERS = ("state_dict", "model")  # entries of a training checkpoint that hold the weights


@door()
def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fill a model, in place, from a plain `state_dict` file or a `.safetensors` file.

    A `state_dict` may lie under the key "state_dict" or "model" of a checkpoint, and all its names may carry
    the prefix of DataParallel ("module.") or of torch.compile ("_orig_mod."). Files from before batch norm
    counted its batches (`num_batches_tracked`) are read too. The model changes only if everything fits.

    Args:
        model: the network to fill.
        path: the file; read by safetensors if its name ends in `.safetensors`, else by torch with
            `weights_only=True`.

    Raises:
        FileFormatError: no such file, a damaged file, one that holds more than dense tensors, or weights of
            another network (the text lists what is missing, what is too many and which shapes differ), or
            numbers that its types cannot take.
    """
    path = Path(path)
    state = _unwrapped(read_state(path), model.state_dict())
    _check(state, model, path)
    model.load_state_dict(_taken(state, model, path), strict=False)


def read_state(path: str | Path) -> Mapping[str, Tensor]:
    """The tensors of a weight file by name.

    Raises:
        FileFormatError: no such file, a damaged file, one that unpacks to far more than its size, or one that
            holds more than dense tensors.
    """
    path = Path(path)
    _check_file(path)
    _check_unpacked(path)
    content: Any
    try:
        with warnings.catch_warnings():
            # what torch finds odd about a file that it reads, or then refuses
            warnings.simplefilter("ignore")
            content = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as error:  # a damaged file can fail in any of a dozen ways inside the two readers
        check_readable(path, error)
        raise FileFormatError(f"{path} {_trouble(path, str(error))}.") from error
    for holder in HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(holder), Mapping):
            content = content[holder]
    if not isinstance(content, Mapping) or not content:
        raise FileFormatError(f"{path} holds no state_dict: expected a mapping of names to tensors.")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise FileFormatError(
                f"{path} is no plain state_dict: its entry {name!r} is a {type(value).__name__}."
            )
        if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise FileFormatError(
                f"{path} holds {name} as {_form(value)}, and weights are read from dense tensors: make it one"
                " before it is saved."
            )
    return content


def _check_file(path: Path) -> None:
    """Raises FileFormatError for what is no file of weights at first sight."""
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; give the weight file in it.")
    if not path.is_file():
        raise FileFormatError(f"There is no weight file {path}.")
    if not path.stat().st_size:
        raise FileFormatError(f"{path} is damaged: it is empty.")
    if path.suffix == ".onnx":
        raise FileFormatError(
            f"{path} is an ONNX file, from which no weights are read by name; give the state_dict that it was"
            " exported from."
        )
    with path.open("rb") as file:
        coded = is_coded(file.read(16))
    if coded:
        raise FileFormatError(
            f"{path} is a coded file, which holds its network and not weights alone; give it in place of the"
            " network, or open it with prunus.load."
        )


def _check_unpacked(path: Path) -> None:
    """Raises FileFormatError for an archive whose entries are packed: torch writes them as they are, so that
    what is read is as long as the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            needed = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return  # no archive, or one of which its reader says what is wrong
    if needed > path.stat().st_size + PACKED:
        raise FileFormatError(
            f"{path} unpacks to {needed:,} bytes, which torch.save never makes of so small a file: save the"
            " state_dict again."
        )


def _form(value: Tensor) -> str:
    """What a tensor is that is not dense."""
    if value.is_meta:
        return "a tensor without data"
    return "a nested tensor" if value.is_nested else "quantised" if value.is_quantized else "a sparse tensor"


def _taken(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The numbers in the types that the model has. Raises FileFormatError where these take others than the
    file holds, and warns of what is no number, or becomes none.
    """
    expected, found = model.state_dict(), dict[str, Tensor]()
    for name, value in state.items():
        kind = expected[name].dtype
        if value.is_complex() and not kind.is_complex:
            raise FileFormatError(
                f"{path} holds complex numbers in {name}, and {type(model).__name__} real ones: they are of"
                " another network."
            )
        found[name] = value.to(kind)
        whole = not (kind.is_floating_point or kind.is_complex)
        if whole and value.dtype != kind and not torch.equal(found[name].to(value.dtype), value):
            raise FileFormatError(
                f"{path} holds {name} as {dtype_name(value.dtype)}, with numbers that"
                f" {dtype_name(kind)}, the type that {type(model).__name__} has, does not take."
            )
    warn_of_nonfinite(found, str(path))
    return found


def _trouble(path: Path, message: str) -> str:
    """Why a file cannot be read, in our words: torch's own advise to read pickled objects, which can run any
    code.
    """
    if path.suffix == ".safetensors":
        return "is damaged, or no safetensors file"
    if "TorchScript" in message:
        return (
            "is a TorchScript program; save the state_dict() of the network that it was made of, and give"
            " that file"
        )
    with path.open("rb") as file:
        whole = _is_archive(path) or file.read(1) == b"\x80"  # how a pickle begins
    if whole and _OBJECT.search(message):
        name = _NAME.search(message)
        what = f" ({name.group(1)})" if name else ""
        return (
            f"holds a pickled object{what}, and such a file can run any code when it is read; save the"
            " network's state_dict() instead"
        )
    return "is damaged, or no state_dict that was saved by torch"


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # it has the end of one, which says nonsense
        return False


def _unwrapped(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without a prefix that all names share and the model does not have."""
    state = dict(state)
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in state) and not all(
            name.startswith(prefix) for name in expected
        ):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _check(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    expected = model.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    misshapen = [
        f"{name} {tuple(value.shape)} instead of {tuple(expected[name].shape)}"
        for name, value in state.items()
        if name in expected and value.shape != expected[name].shape
    ]
    differences = [("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)]
    if any(names for _, names in differences):
        listed = "; ".join(f"{label}: {_some(names)}" for label, names in differences if names)
        raise FileFormatError(f"{path} does not fit {type(model).__name__}: {listed}.")


def _some(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
