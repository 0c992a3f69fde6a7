"""Networks as functions in the runtimes that serve them, by name: eager PyTorch, torch.compile, ONNX Runtime,
OpenVINO.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.scratch import scratch_folder
from prunus.deploy import onnx, onnx_file
from prunus.deploy.inputs import Inputs
from prunus.errors import ConfigError, MissingExtraError, PrunusError
from prunus.measure.timing import Clock, Latency, onnx_runs, take_turns, torch_runs

Runtime = Literal["torch", "torch-compile", "onnxruntime", "openvino"]
Network = nn.Module | Path  # a path is that of an ONNX file
Runs = dict[str, Callable[[], None]]

COMPILERS = ("g++", "clang++", "cl")


def require(runtime: Runtime) -> None:
    """Find out whether a runtime can be used here, without running anything.

    Raises:
        ConfigError: torch.compile finds no C++ compiler, or there is no runtime of this name.
        MissingExtraError: packages are not installed.
    """
    if runtime not in ("torch", "torch-compile", "onnxruntime", "openvino"):
        raise ConfigError(
            f"There is no runtime {runtime!r}: torch, torch-compile, onnxruntime and openvino are known."
        )
    if runtime == "torch-compile" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise ConfigError("torch.compile needs a C++ compiler: install g++, or name one in the variable CXX.")
    if runtime == "openvino" and find_spec("openvino") is None:
        raise MissingExtraError("OpenVINO is not installed; install it with: pip install 'prunus[openvino]'.")
    if runtime in ("onnxruntime", "openvino"):
        onnx_file.require()


@door(ConfigError)
def time_models(
    models: Mapping[str, Network],
    example_inputs: Inputs,
    *,
    runtime: Runtime = "torch",
    threads: int = 1,
    repeats: int = 100,
    limit_s: float = 8.0,
    warm_up: int = 5,
    clock: Clock = time.perf_counter,
) -> dict[str, Latency]:
    """Time several networks in one runtime, in turns.

    Args:
        models: name -> model, or an ONNX file where the runtime reads such files. PyTorch's runtimes compute
            where model and inputs are, GPUs included; the others on the CPU.
        example_inputs: a tensor, a tuple of positional or a dictionary of keyword arguments.
        runtime: "torch", "torch-compile", "onnxruntime" or "openvino".
        threads: that the runtime may use.
        repeats, limit_s, warm_up, clock: as for `prunus.measure.timing.measure`.

    Returns:
        name -> latency, in the order of `models`.

    Raises:
        ConfigError, MissingExtraError: as for `require`; nothing to measure; an ONNX file for PyTorch.
        PrunusError: a model cannot be compiled or exported.
    """
    with running(models, example_inputs, runtime=runtime, threads=threads) as runs:
        return take_turns(runs, repeats=repeats, limit_s=limit_s, warm_up=warm_up, clock=clock)


@contextmanager
def running(
    models: Mapping[str, Network], example_inputs: Inputs, *, runtime: Runtime = "torch", threads: int = 1
) -> Iterator[Runs]:
    """Networks as functions without arguments, each a forward pass, inside the block; arguments and errors as
    for `time_models`.
    """
    require(runtime)
    if runtime in ("onnxruntime", "openvino"):
        with onnx_files(models, example_inputs) as files:
            yield (onnx_runs if runtime == "onnxruntime" else _openvino_runs)(
                files, example_inputs, threads=threads
            )
        return
    networks = {name: _module(network, runtime) for name, network in models.items()}
    with (torch_runs if runtime == "torch" else _compiled_runs)(
        networks, example_inputs, threads=threads
    ) as runs:
        yield runs


@contextmanager
def onnx_files(models: Mapping[str, Network], example_inputs: Inputs) -> Iterator[dict[str, Path]]:
    """ONNX files of several networks, for these inputs and their batch; those exported here are gone after
    the block.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        PrunusError: a model cannot be exported.
    """
    with scratch_folder() as folder:
        yield {
            name: network
            if isinstance(network, Path)
            else onnx.export(network, example_inputs, Path(folder) / f"{number}.onnx").path
            for number, (name, network) in enumerate(models.items())
        }


def _module(network: Network, runtime: Runtime) -> nn.Module:
    if isinstance(network, Path):
        raise ConfigError(
            f"{network} is an ONNX file, which {runtime} cannot run: onnxruntime and openvino can."
        )
    return network


@contextmanager
def _compiled_runs(
    models: Mapping[str, nn.Module], example_inputs: Inputs, *, threads: int
) -> Iterator[Runs]:
    """Compiled for these shapes and so many threads; what was compiled before in this process is forgotten,
    and this is afterwards.
    """
    torch.compiler.reset()
    try:
        with torch_runs(models, example_inputs, threads=threads, prepare=_compiled) as runs:
            for name, run in runs.items():
                try:
                    run()
                except Exception as error:  # the compiler has many types; none of them is the user's to know
                    inner: BaseException = getattr(error, "inner_exception", error)
                    raise PrunusError(
                        f"torch.compile cannot run {name}: {onnx_file.first_cause(inner)}."
                    ) from error
            yield runs
    finally:
        torch.compiler.reset()


def _compiled(model: nn.Module) -> Callable[..., object]:
    """A compiled function that calls a model.

    Its code object is a copy of its own, because compiled code is kept by code object: models that differ in
    their widths would be looked up in one list, the longer the more there are, and from the ninth on run
    without being compiled.
    """

    def call(*args: Any, **kwargs: Any) -> object:
        return model(*args, **kwargs)

    call.__code__ = call.__code__.replace()
    compiled: Callable[..., object] = torch.compile(call, dynamic=False)
    return compiled


def _openvino_runs(files: Mapping[str, Path], example_inputs: Inputs, *, threads: int) -> Runs:
    """ONNX files in OpenVINO on the CPU, in 32-bit floats: where the processor can, it would compute in 16
    bits by itself.
    """
    openvino = _openvino()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()

    def runner(path: Path) -> Callable[[], None]:
        compiled = core.compile_model(str(path), "CPU", settings)
        inputs = onnx_file.feeds([entry.any_name for entry in compiled.inputs], example_inputs)
        request = compiled.create_infer_request()
        return lambda: request.infer(inputs, share_inputs=True)

    return {name: runner(path) for name, path in files.items()}


def _openvino() -> Any:
    """OpenVINO, imported without the package by which it tells its makers over the network that it was."""
    telemetry = "openvino_telemetry"
    hidden = telemetry not in sys.modules
    if hidden:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # Python's way to say that a module is not to be found
    try:
        return importlib.import_module("openvino")
    finally:
        if hidden:
            del sys.modules[telemetry]
