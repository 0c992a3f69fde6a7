"""ONNX files in ONNX Runtime: what they take, what they give, and sentences for what cannot be done."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prunus._foundation.sizes import MOST_AXES, MOST_ELEMENTS
from prunus._foundation.system_faults import check_readable
from prunus.deploy.inputs import Inputs, split, tensors
from prunus.errors import ConfigError, FileFormatError, MissingExtraError, PrunusError

# what ONNX Runtime says of operators that it has for other types of numbers only
_OTHER_TYPES = re.compile(r"NOT_IMPLEMENTED|Type 'tensor\(\w+\)' of input parameter .* is invalid")
_ADVICE = (
    " ONNX Runtime has few operators for numbers in double precision, and none for bfloat16: export, and"
    " time, the network in single precision (model.float(), and inputs likewise)."
)
_LOADING = re.compile(r"Load model from .* failed:\s*")
_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(int16)": torch.int16,
    "tensor(int8)": torch.int8,
    "tensor(uint8)": torch.uint8,
    "tensor(bool)": torch.bool,
}


def require(
    what: str = "ONNX export", packages: Sequence[str] = ("onnx", "onnxscript", "onnxruntime")
) -> None:
    """Raise MissingExtraError unless everything that export and check, or `what` else, need is installed."""
    missing = [name for name in packages if not _importable(name)]
    if missing:
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}; install it with: pip install 'prunus[onnx]'."
        )


class Session:
    """An ONNX file in ONNX Runtime, on the CPU; what cannot be done with it is told in a sentence.

    Attributes:
        inner: the runtime's own session.
    """

    def __init__(self, path: Path | str, inner: Any) -> None:
        self._path, self.inner = Path(path), inner

    def get_inputs(self) -> Any:
        """What the file takes."""
        return self.inner.get_inputs()

    def get_outputs(self) -> Any:
        """What it gives."""
        return self.inner.get_outputs()

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        """Outputs by their names, None for all. Raises ConfigError for inputs that the file does not take."""
        try:
            found: list[Any] = self.inner.run(outputs, inputs)
        except Exception as error:  # the runtime has a type for every way in which a run can fail
            takes = _listed((entry.name, entry.shape, entry.type) for entry in self.get_inputs())
            given = _listed((name, value.shape, value.dtype) for name, value in inputs.items())
            raise ConfigError(
                f"{self._path.name} takes {takes}, and cannot be run on {given}: {first_cause(error)}."
            ) from error
        return found


def _listed(entries: Iterable[tuple[str, Sequence[Any], Any]]) -> str:
    """Names, shapes and types of inputs."""
    return ", ".join(f"{name} [{', '.join(map(str, shape))}] of {kind}" for name, shape, kind in entries)


def session(path: Path | str, *, threads: int) -> Session:
    """A file with a fixed number of threads and no spinning between runs.

    Raises:
        FileFormatError: there is none, or it cannot be read.
        MissingExtraError: ONNX Runtime is not installed.
    """
    if not _importable("onnxruntime"):
        raise MissingExtraError(
            "Running ONNX files needs onnxruntime; install it with: pip install 'prunus[onnx]'."
        )
    if not Path(path).is_file():
        raise FileFormatError(f"{path} cannot be read as an ONNX file: there is no such file.")
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
    try:
        inner = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a type for every way in which a file can be broken
        check_readable(Path(path), error)
        advice = _ADVICE if _OTHER_TYPES.search(str(error)) else ""
        cause = _LOADING.sub("", first_cause(error))
        raise FileFormatError(f"{path} cannot be read as an ONNX file: {cause}.{advice}") from error
    return Session(path, inner)


def runner(path: Path | str, *, threads: int = 1) -> Callable[[Inputs], list[Any]]:
    """A file as a function of inputs like those it was exported with; it gives NumPy arrays."""
    opened = session(path, threads=threads)
    return lambda inputs: opened.run(None, feeds([entry.name for entry in opened.get_inputs()], inputs))


def feeds(names: Sequence[str], example_inputs: Inputs) -> dict[str, Any]:
    """The inputs of a file by these names, as NumPy arrays: tensors in the order in which the exporter
    flattened them.
    """
    args, kwargs = split(example_inputs)
    values = tensors((args, kwargs))
    if len(names) != len(values):
        raise PrunusError(
            f"The ONNX file takes {len(names)} inputs ({', '.join(names)}), but {len(values)} tensors were"
            " given."
        )
    return {name: value.detach().cpu().numpy() for name, value in zip(names, values)}


@dataclass(frozen=True)
class Taken:
    """A tensor that a network is called with: its shape, None for an axis that is free, and its type."""

    shape: tuple[int | None, ...]
    dtype: torch.dtype


def taken(path: Path | str) -> tuple[Taken, ...]:
    """What a file takes, in its order.

    Raises:
        FileFormatError: the file cannot be read, or takes what is no tensor of numbers, or a larger one than
            inputs may be.
        MissingExtraError: ONNX Runtime is not installed.
    """
    found = session(path, threads=1).get_inputs()
    if not found or any(entry.type not in _TYPES for entry in found):
        kinds = ", ".join(f"{entry.name}: {entry.type}" for entry in found) or "nothing"
        raise FileFormatError(f"{path} takes {kinds}; tensors of numbers are what can be made up for it.")
    shapes = [
        tuple(length if isinstance(length, int) else None for length in entry.shape or ()) for entry in found
    ]
    for entry, shape in zip(found, shapes):
        known = [length for length in shape if length is not None]
        if any(length < 1 for length in known) or math.prod(known) > MOST_ELEMENTS:
            raise FileFormatError(
                f"{path} takes {entry.name} in the shape {list(shape)[:MOST_AXES]}: every length must be at"
                f" least 1, and an input may have at most {MOST_ELEMENTS:,} elements."
            )
    return tuple(Taken(shape, _TYPES[entry.type]) for shape, entry in zip(shapes, found))


def first_cause(error: BaseException) -> str:
    """What went wrong at the bottom, in one line: the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
