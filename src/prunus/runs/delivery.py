"""The folder that a run leaves behind: compact model, ONNX file, plan, `result.json` and `report.html`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from prunus import report, storage
from prunus._foundation.arguments import door
from prunus._foundation.atomic import PART
from prunus._foundation.environment import environment
from prunus._foundation.progress import Watch, unwatched
from prunus._foundation.run_files import FILES, INDEX, KEPT, OF_EPOCHS, PROGRESS
from prunus._foundation.system_faults import no_room
from prunus.deploy import onnx, onnx_file
from prunus.deploy.inputs import Inputs, main_shape
from prunus.deploy.sheet import sheet_of
from prunus.errors import ConfigError, PrunusError, clause
from prunus.measure import comparison
from prunus.report import html
from prunus.report.result import Result, write_json, write_text
from prunus.report.words import DENSE
from prunus.runs import by_class
from prunus.runs.describe import Provenance, describe, files
from prunus.runs.quantisation import FILE, quantised
from prunus.runs.settings import USUAL, Delivery
from prunus.runs.side_by_side import side_by_side
from prunus.storage import fileset
from prunus.storage.lock import check_folder, folder_lock

if TYPE_CHECKING:
    from prunus.methods.common import Outcome
    from prunus.tasks import Task

ONNX = "model.onnx"
CHECKPOINTS = "checkpoint*.safetensors"  # some methods train more than once
NO_IMAGES: Mapping[str, str] = {}


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
        ConfigError: the folder cannot be made or written to, or holds another that would be lost.
        FileFormatError: something else than a file has the name of one of its files.
    """
    folder = Path(folder)
    if with_onnx:
        onnx_file.require()
    if with_report:
        html.require()
    check_folder(folder)
    fileset.check(folder, FILES)
    _check_kept(folder / KEPT)


def _check_kept(place: Path) -> None:
    """Raises ConfigError for a folder of that name that is not of a run, which goes with an earlier run."""
    with suppress(OSError):
        if all(fnmatch(one.name, OF_EPOCHS) or one.name.endswith(PART) for one in place.iterdir()):
            return
        raise ConfigError(
            f"{place} is a folder that no run made, and a new run would remove it: choose another folder for"
            " the results."
        )


@door(ConfigError)
def deliver(
    folder: Path | str,
    original: nn.Module,
    outcome: Outcome,
    example_inputs: Inputs,
    about: Provenance,
    delivery: Delivery = USUAL,
    watch: Watch = unwatched,
) -> Result:
    """Measure latency before and after, and write everything: the folder holds all files of this run
    afterwards, or is as it was.

    Args:
        folder: where to; made if it is not there, and files of an earlier run are replaced.
        original: the model before.
        outcome: of a method.
        example_inputs: what latency is measured on, real inputs if possible.
        about: where the result comes from.
        delivery: what is written besides; a file in 8 bits needs a task with held-out samples.
        watch: told about progress.

    Returns:
        The result, as written to `result.json`; it knows its folder.

    Raises:
        MissingExtraError, ConfigError, FileFormatError: as for `check` and `run_files`.
        PrunusError: the model cannot be exported, or the quantiser gives up; everything else is there then.
    """
    folder = Path(folder)
    check(folder, with_onnx=delivery.onnx, with_report=delivery.report)
    with run_files(folder) as staged:
        paths = {"model": staged / "model.safetensors", "plan": staged / "plan.json"}
        measured, exported, failure = _timed(
            original, outcome.model, example_inputs, staged, about.task, delivery, watch
        )
        watch("writing", 0, 0)
        storage.save(outcome.model, paths["model"])
        write_text(outcome.plan.to_json() + "\n", paths["plan"])
        shape = list(main_shape(example_inputs) or ())
        about = replace(about, model={"input_shape": shape} | dict(about.model))
        result = describe(outcome, about, environment=environment(), latency=measured)
        watch("comparing on test samples", 0, 0)
        dense = original if not outcome.steps or outcome.steps[0].step == DENSE else None
        shown = side_by_side(about.task, dense, outcome.model) if delivery.report else None
        result |= {
            "by_class": by_class.panel(about.task, dense, outcome.model),
            "examples": shown.panel if shown else None,
        }
        images = shown.images if shown else {}
        result = finish(result | dict(about.panels), staged, paths, exported, delivery.report, images)
        if delivery.int8 is not None and exported is not None and about.task is not None:
            try:
                int8 = quantised(
                    delivery.int8,
                    original,
                    exported.path,
                    example_inputs,
                    about.task,
                    seed=about.seed,
                    watch=watch,
                )
                paths = {**paths, "int8": staged / FILE}
                result = finish(result | {"int8": int8}, staged, paths, exported, delivery.report, images)
            except BaseException as error:  # all else is there, so that no training is lost with it
                failure = without_int8(error, staged)
                (staged / FILE).unlink(missing_ok=True)
                write_json(result, staged / "result.json")
    if failure is not None:
        raise failure
    return Result(result, folder)


def _timed(
    original: nn.Module,
    small: nn.Module,
    example_inputs: Inputs,
    staged: Path,
    task: Task | None,
    delivery: Delivery,
    watch: Watch,
) -> tuple[tuple[comparison.Measured, ...], onnx.OnnxCheck | None, BaseException | None]:
    """Latencies, the ONNX file, and why there is none although it is wanted: no training is lost with it."""
    time = partial(
        comparison.compare_latency,
        original,
        small,
        example_inputs,
        dynamic_batch=delivery.dynamic_batch,
        sheet=sheet_of(task),
        watch=lambda step: watch(step, 0, 0),
    )
    try:
        return *time(with_onnx=delivery.onnx, onnx_path=staged / ONNX), None
    except PrunusError as error:
        if not delivery.onnx:
            raise
        return *time(with_onnx=False), without_onnx(error, staged)


def without_onnx(error: PrunusError, staged: Path) -> PrunusError:
    """What to raise once the folder of a run is there, where its network could not be exported: nothing else
    is lost with that.
    """
    for draft in staged.glob(f"{ONNX}*"):
        draft.unlink()
    return _besides(clause(error), error, staged)


def without_int8(error: BaseException, staged: Path) -> BaseException:
    """Likewise, where there is no file in 8 bits because the disk takes no more."""
    full = no_room(error)
    if full is None:
        return error
    why = clause(error) if isinstance(error, PrunusError) else f"There is no {FILE} ({full.strerror or full})"
    return _besides(why, error, staged)


def _besides(why: str, error: BaseException, staged: Path) -> PrunusError:
    """What is lacking, by the place where it would lie, and that all else is there."""
    why = why.replace(str(staged), str(staged.parent))
    told = PrunusError(f"{why}; all else that was made is in the folder of the run.")
    told.__cause__ = error
    return told


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
