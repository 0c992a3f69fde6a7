"""The folder that a run leaves behind: compact model, ONNX file, plan, `result.json` and `report.html`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from prunus import report, storage
from prunus.deploy import comparison, onnx
from prunus.deploy.environment import environment
from prunus.errors import ConfigError
from prunus.report import html
from prunus.report.describe import describe, files
from prunus.report.quantisation import FILE, Quantisation, quantised
from prunus.report.result import write_json, write_text

if TYPE_CHECKING:
    from prunus.methods.one_shot import Material, Outcome
    from prunus.training import History


def check(folder: Path | str, *, with_onnx: bool, with_report: bool) -> None:
    """Find out before the work, rather than after an hour of it, what would keep the folder from being written.

    Raises:
        MissingExtraError: an extra is wanted that is not installed.
        ConfigError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    if with_onnx:
        onnx.require()
    if with_report:
        html.require()
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not place.is_dir():
        raise ConfigError(f"{place} is a file: the results need a folder.")
    if not os.access(place, os.W_OK):
        raise ConfigError(f"{place} cannot be written to: choose another folder for the results.")


def deliver(
    folder: Path | str,
    original: nn.Module,
    outcome: Outcome,
    example_inputs: Tensor,
    *,
    command: str,
    model: Mapping[str, Any],
    score: str,
    seed: int,
    material: Material | None = None,
    training: History | None = None,
    notes: Sequence[str] = (),
    panels: Mapping[str, Any] | None = None,
    with_onnx: bool = True,
    with_report: bool = True,
    quantise: Quantisation | None = None,
    watch: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> dict[str, Any]:
    """Measure latency before and after, and write everything; every file is written whole or not at all.

    Args:
        folder: where to; made if it is not there, and files of an earlier run are replaced.
        original: the model before.
        outcome: of `prunus.methods.one_shot`.
        example_inputs: what latency is measured on, real inputs if possible.
        command, model, score, seed, material, training, notes: as for `prunus.report.describe`.
        panels: further parts of the result that the report shows: such as "selection" and "soft".
        with_onnx: export, check, and measure in ONNX Runtime too.
        with_report: write `report.html`.
        quantise: also write the ONNX file in 8 bits; it needs `with_onnx`, and a material with held-out samples.
        watch: told about progress.

    Returns:
        The result, as written to `result.json`.

    Raises:
        MissingExtraError, ConfigError: as for `check`.
        PrunusError: the model cannot be exported.
    """
    folder = Path(folder)
    check(folder, with_onnx=with_onnx, with_report=with_report)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"model": folder / "model.safetensors", "plan": folder / "plan.json"}
    measured, exported = comparison.compare_latency(
        original,
        outcome.compact,
        example_inputs,
        with_onnx=with_onnx,
        onnx_path=folder / "model.onnx",
        watch=lambda step: watch(step, 0, 0),
    )
    watch("writing", 0, 0)
    storage.save(outcome.compact, paths["model"])
    write_text(outcome.plan.to_json() + "\n", paths["plan"])
    result = describe(
        outcome,
        command=command,
        model=model,
        score=score,
        seed=seed,
        environment=environment(),
        material=material,
        training=training,
        latency=measured,
        notes=notes,
    )
    for name, made in ((FILE, False), ("model.onnx", exported is not None), ("report.html", with_report)):
        if not made:
            (folder / name).unlink(missing_ok=True)  # of an earlier run, and so of another network
    result = finish(result | dict(panels or {}), folder, paths, exported, with_report)
    if quantise is None or exported is None or material is None:
        return result
    # All else is written by now, so that no training is lost if the quantiser gives up.
    result["int8"] = quantised(quantise, original, exported.path, example_inputs, material, seed=seed, watch=watch)
    return finish(result, folder, {**paths, "int8": folder / FILE}, exported, with_report)


def finish(result: dict[str, Any], folder: Path, paths: Mapping[str, Path], exported: onnx.OnnxCheck | None, with_report: bool) -> dict[str, Any]:
    """Write `result.json` and the page; the result as written, with the ONNX file, if there is one, and all files in it."""
    if exported is not None:
        paths = {**paths, "onnx": exported.path}
        result["onnx"] = {"opset": exported.opset, "max_abs": exported.max_abs, "relative": exported.relative}
    result["files"] = files(paths, folder)
    write_json(result, folder / "result.json")
    if with_report:
        report.write(result, folder / "report.html")
    return result
