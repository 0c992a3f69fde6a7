"""The folder that a run leaves behind: compact model, ONNX file, plan, `result.json` and `report.html`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from prunus import report, storage
from prunus._foundation.environment import environment
from prunus.deploy import onnx
from prunus.deploy.inputs import Inputs, tensors
from prunus.deploy.sheet import sheet_of
from prunus.measure import comparison
from prunus.report import html
from prunus.report.result import write_json, write_text
from prunus.report.words import DENSE
from prunus.runs import by_class
from prunus.runs.describe import describe, files
from prunus.runs.quantisation import FILE, Quantisation, quantised
from prunus.runs.side_by_side import side_by_side
from prunus.storage import fileset
from prunus.storage.lock import check_folder, folder_lock

if TYPE_CHECKING:
    from prunus.methods.common import Outcome
    from prunus.tasks import Task
    from prunus.training import History

INDEX = ("training.json", "result.json")  # they say what the other files are
FILES = (
    "model.safetensors",
    "gates.safetensors",
    "plan.json",
    "model.onnx",
    "model.onnx.data",
    FILE,
    f"{FILE}.data",
    "report.html",
    *INDEX,
)
CHECKPOINTS = "checkpoint*.safetensors"  # some methods train more than once
NO_IMAGES: Mapping[str, str] = {}
PROGRESS = ("recipe.toml", "metrics.jsonl", "kept")  # of a training; they belong to its checkpoints


@contextmanager
def run_files(folder: Path) -> Iterator[Path]:
    """A folder to write a run's files in; they come into the run's own folder all together when the block
    ends, or not at all if it fails.

    All files of an earlier run go then: they would be taken for this one's. Only a training's checkpoints
    stay, with its recipe and its metrics.

    Raises:
        ConfigError: another run writes into the folder, or it cannot be made.
        FileFormatError: the files cannot be written.
    """
    with folder_lock(folder):
        begun = any(folder.glob(CHECKPOINTS))
        with fileset.staging(folder, FILES if begun else (*FILES, *PROGRESS), last=INDEX) as staged:
            yield staged


def check(folder: Path | str, *, with_onnx: bool, with_report: bool) -> None:
    """Find out before the work, rather than after an hour of it, what would keep the folder from being
    written.

    Raises:
        MissingExtraError: an extra is wanted that is not installed.
        ConfigError: the folder cannot be made or written to.
        FileFormatError: something else than a file has the name of one of its files.
    """
    folder = Path(folder)
    if with_onnx:
        onnx.require()
    if with_report:
        html.require()
    check_folder(folder)
    fileset.check(folder, FILES)


def deliver(
    folder: Path | str,
    original: nn.Module,
    outcome: Outcome,
    example_inputs: Inputs,
    *,
    command: str = "",
    model: Mapping[str, Any],
    score: str,
    seed: int,
    task: Task | None = None,
    training: History | None = None,
    notes: Sequence[str] = (),
    panels: Mapping[str, Any] | None = None,
    with_onnx: bool = True,
    dynamic_batch: bool = False,
    with_report: bool = True,
    quantise: Quantisation | None = None,
    watch: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> dict[str, Any]:
    """Measure latency before and after, and write everything: the folder holds all files of this run
    afterwards, or is as it was.

    Args:
        folder: where to; made if it is not there, and files of an earlier run are replaced.
        original: the model before.
        outcome: of a method.
        example_inputs: what latency is measured on, real inputs if possible.
        command, model, score, seed, task, training, notes: as for `prunus.runs.describe`; a name of the model
        is enough.
        panels: further parts of the result that the report shows: such as "selection" and "soft".
        with_onnx: export, check, and measure in ONNX Runtime too.
        dynamic_batch: let the ONNX file take batches of any size.
        with_report: write `report.html`.
        quantise: also write the ONNX file in 8 bits; it needs `with_onnx`, and a task with held-out samples.
        watch: told about progress.

    Returns:
        The result, as written to `result.json`.

    Raises:
        MissingExtraError, ConfigError, FileFormatError: as for `check` and `run_files`.
        PrunusError: the model cannot be exported; or the quantiser gives up, when everything else is there.
    """
    folder = Path(folder)
    check(folder, with_onnx=with_onnx, with_report=with_report)
    failure: BaseException | None = None
    with run_files(folder) as staged:
        paths = {"model": staged / "model.safetensors", "plan": staged / "plan.json"}
        measured, exported = comparison.compare_latency(
            original,
            outcome.model,
            example_inputs,
            with_onnx=with_onnx,
            onnx_path=staged / "model.onnx",
            dynamic_batch=dynamic_batch,
            sheet=sheet_of(task),
            watch=lambda step: watch(step, 0, 0),
        )
        watch("writing", 0, 0)
        storage.save(outcome.model, paths["model"])
        write_text(outcome.plan.to_json() + "\n", paths["plan"])
        result = describe(
            outcome,
            command=command,
            model={"input_shape": _shape(example_inputs)} | dict(model),
            score=score,
            seed=seed,
            environment=environment(),
            task=task,
            training=training,
            latency=measured,
            notes=notes,
        )
        watch("comparing on test samples", 0, 0)
        dense = original if not outcome.steps or outcome.steps[0].step == DENSE else None
        shown = side_by_side(task, dense, outcome.model) if with_report else None
        result |= {
            "by_class": by_class.panel(task, dense, outcome.model),
            "examples": shown.panel if shown else None,
        }
        images = shown.images if shown else {}
        result = finish(result | dict(panels or {}), staged, paths, exported, with_report, images)
        if quantise is not None and exported is not None and task is not None:
            try:
                int8 = quantised(
                    quantise, original, exported.path, example_inputs, task, seed=seed, watch=watch
                )
                paths["int8"] = staged / FILE
                result = finish(result | {"int8": int8}, staged, paths, exported, with_report, images)
            except (
                BaseException
            ) as error:  # all else is written, so that no training is lost if the quantiser gives up
                failure = error
                (staged / FILE).unlink(missing_ok=True)
    if failure is not None:
        raise failure
    return result


def _shape(example_inputs: Inputs) -> list[int]:
    """Of the first tensor that the model is called with."""
    return [int(length) for length in tensors(example_inputs)[0].shape]


def finish(
    result: dict[str, Any],
    folder: Path,
    paths: Mapping[str, Path],
    exported: onnx.OnnxCheck | None,
    with_report: bool,
    images: Mapping[str, str] = NO_IMAGES,
) -> dict[str, Any]:
    """Write `result.json` and the page, which alone has the images; the result as written, with the ONNX
    file, if there is one, and all files in it.
    """
    if exported is not None:
        paths = {**paths, "onnx": exported.path}
        result["onnx"] = {"opset": exported.opset, "max_abs": exported.max_abs, "relative": exported.relative}
    result["files"] = files(paths, folder)
    write_json(result, folder / "result.json")
    if with_report:
        report.write(result, folder / "report.html", images)
    return result
