"""Two models side by side: latency in every runtime at hand, in turns, and how far their
outputs are apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from prunus._foundation.agreement import Difference, difference
from prunus._foundation.scratch import scratch_folder
from prunus.deploy import onnx
from prunus.deploy.inputs import Inputs, split, tensors
from prunus.deploy.sheet import DataSheet
from prunus.errors import ConfigError
from prunus.measure.timing import Latency, Speedup, measure, measure_onnx, speedup
from prunus.plans.verify import evaluating


@dataclass(frozen=True)
class Measured:
    """Latency of two models in one runtime, under the same conditions.

    Attributes:
        runtime: "PyTorch" (eager) or "ONNX Runtime".
        batch: samples per call.
        threads: threads that the runtime may use.
        before: latency of the first model.
        after: latency of the second.
        speedup: the second against the first, round by round.
    """

    runtime: str
    batch: int
    threads: int
    before: Latency
    after: Latency
    speedup: Speedup


def compare_latency(
    before: nn.Module,
    after: nn.Module,
    example_inputs: Inputs,
    *,
    with_onnx: bool = True,
    onnx_path: Path | str | None = None,
    dynamic_batch: bool = False,
    sheet: DataSheet = onnx.NOTHING_SAID,
    threads: int = 1,
    repeats: int = 100,
    watch: Callable[[str], None] = lambda step: None,
) -> tuple[tuple[Measured, ...], onnx.OnnxCheck | None]:
    """Latency of two models in PyTorch, and in ONNX Runtime if wanted.

    Args:
        before, after: the models, on the CPU.
        example_inputs: what both are called with.
        with_onnx: export both and measure them in ONNX Runtime as well.
        onnx_path: keep the second model's ONNX file here; None keeps neither.
        dynamic_batch: let that file take batches of any size; what is measured here has the batch of the
            example all the same.
        sheet: what that file says of its use.
        threads: threads for each runtime.
        repeats: samples per model and runtime, at most.
        watch: told what is being done.

    Returns:
        The measurements, PyTorch first, and the check of the second model's export (None without ONNX).

    Raises:
        MissingExtraError: ONNX is wanted and the extra is not installed.
        PrunusError: a model cannot be exported.
    """
    batch = _batch(example_inputs)
    watch("measuring PyTorch")
    times = measure({"before": before, "after": after}, example_inputs, repeats=repeats, threads=threads)
    measured = [_measured("PyTorch", batch, threads, times)]
    if not with_onnx:
        return tuple(measured), None
    watch("exporting to ONNX")
    with scratch_folder() as folder:
        checks = {
            "before": onnx.export(before, example_inputs, Path(folder) / "before.onnx"),
            "after": onnx.export(
                after, example_inputs, onnx_path or Path(folder) / "after.onnx", dynamic_batch, sheet=sheet
            ),
        }
        watch("measuring ONNX Runtime")
        files = {name: check.path for name, check in checks.items()}
        times = measure_onnx(files, example_inputs, repeats=repeats, threads=threads)
    measured.append(_measured("ONNX Runtime", batch, threads, times))
    return tuple(measured), checks["after"]


def output_difference(before: nn.Module, after: nn.Module, inputs: Inputs) -> Difference:
    """How far the outputs of two models in eval mode are apart; their modes are restored. `finite` is False
    where a model gives NaN or infinity.

    Raises:
        ConfigError: the outputs have different shapes.
    """
    args, kwargs = split(inputs)
    with evaluating(before), evaluating(after):
        expected, found = tensors(before(*args, **kwargs)), tensors(after(*args, **kwargs))
    apart = difference(expected, found)
    if apart.unlike:
        raise ConfigError(f"The models cannot be compared: the second returns {apart.unlike}.")
    return apart


def _measured(runtime: str, batch: int, threads: int, times: Mapping[str, Latency]) -> Measured:
    return Measured(
        runtime, batch, threads, times["before"], times["after"], speedup(times["before"], times["after"])
    )


def _batch(example_inputs: Inputs) -> int:
    """Length of the first axis of the first tensor."""
    found = tensors(example_inputs)
    return found[0].shape[0] if found and found[0].ndim else 1
