"""A whole job: a network by its name becomes a coded file, and such a file a model that others open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prunus._foundation.arguments import check_fields, door
from prunus._foundation.progress import Watch, unwatched
from prunus.errors import ConfigError, FileFormatError
from prunus.runs.data import Data, data_of, open_network, read_data, side_of
from prunus.runs.fitting import chosen_among_seen, fitted
from prunus.runs.kinds import check_target
from prunus.runs.loading import model_in
from prunus.runs.settings import Network, files_of, network_of
from prunus.runs.tuning import tuning_of
from prunus.training.config import Augment, TrainConfig

if TYPE_CHECKING:
    from torch import nn

    from prunus.quantisation.packing import Packed


@dataclass(frozen=True)
class PackSettings:
    """How small a file is to be, and how; one of the first four, or a rate with epochs. Nothing = a tolerance
    of half a point.

    Attributes:
        tolerance: points of the metric on held-out samples that may be lost.
        bytes: of the file, at most; below 1 a share of the original's.
        bits: of every weight.
        error: of the outputs of every layer, as a share of their variance.
        epochs: of training with the bytes in the loss; 0 quantises after the training, which takes minutes.
        rate: what a thousand bytes add to that loss.
        learning_rate: of that training.
        teach: the original teaches meanwhile.
        augment: how images are varied meanwhile; "auto" = as is usual for the data.
        confidence: with which a tolerance is kept.
        samples: calibration inputs.
        bare: leave out the ONNX graph and what the file tells people.
        seed: of everything random.
    """

    tolerance: float | None = None
    bytes: float | None = None
    bits: int | None = None
    error: float | None = None
    epochs: int = 0
    rate: float | None = None
    learning_rate: float = 1e-3
    teach: bool = False
    augment: Literal["auto"] | Augment = "auto"
    confidence: float = 0.95
    samples: int = 1024
    bare: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        if bool(self.epochs) != (self.rate is not None):
            raise ConfigError("Grids are trained for so many epochs at a rate: give both, or neither.")

    def target(self) -> dict[str, float | int]:
        """The target that is asked for, by its name."""
        named = {
            name: value
            for name in ("tolerance", "bytes", "bits", "error", "rate")
            if (value := getattr(self, name)) is not None
        }
        return named or {"tolerance": 0.5}


@door(ConfigError)
def pack(
    model: Network | str,
    data: Data | str,
    output: Path | str,
    settings: PackSettings | None = None,
    *,
    report: Path | str | None = None,
    command: str = "",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Put a network into a coded file.

    Args:
        model: which.
        data: with training samples, and held-out ones where a tolerance is to be kept.
        output: the file, model.prunus.
        settings: how small.
        report: a page on it, which needs the extra `report`; None writes none.
        command: what the page says it was made by.
        watch: told about progress.

    Returns:
        What `result.json` would say: sizes, metric before and after, bytes by layer and stage, trials.

    Raises:
        PrunusError: whatever reading, building and `prunus.pack` raise.
    """
    from prunus.quantisation import packing
    from prunus.report import coding_page

    settings, output = settings or PackSettings(), Path(output)
    network, wanted = network_of(model), data_of(data, settings.seed)
    if wanted is None:
        raise ConfigError("Packing looks at what layers get, so it needs data (--data).")
    check_target(output, "the coded file", wanted.name, *files_of(network), endings=(".prunus",))
    if report is not None:
        check_target(Path(report), "the report", wanted.name, *files_of(network), endings=(".html",))
        if Path(report).resolve() == output.resolve():
            raise ConfigError(f"{report} is the coded file: the report is another.")
        coding_page.require()
    source = read_data(wanted, side_of(network, network.input_shape), watch)
    watch("building the model", 0, 0)
    opened = open_network(network, source)
    seen = chosen_among_seen(source, opened)
    source, said = fitted(source, opened)
    base = TrainConfig(epochs=1, lr=settings.learning_rate, optimizer="adam", weight_decay=0.0)
    packed = packing.pack(
        opened.model,
        source.task(),
        output,
        **settings.target(),  # type: ignore[arg-type]  # the names are those of the arguments
        confidence=settings.confidence,
        config=tuning_of(base, settings.epochs, source, augment=settings.augment, seed=settings.seed),
        teach=settings.teach,
        samples=settings.samples,
        seed=settings.seed,
        plan=not settings.bare,
        about=None if settings.bare else _about(opened, source.task()),
        skeleton=None if settings.bare else _skeleton,
        watch=watch,
    )
    result = _record(packed, opened, source.task(), settings, command)
    result["notes"] += (*said, *seen)
    if report is not None:
        coding_page.write(result, report)
    return result


def _about(opened: Any, task: Any) -> dict[str, Any]:
    """What somebody who opens the file has to know."""
    normalise = task.normalise
    return {
        "input_shape": list(opened.input_shape),
        "mean": list(normalise[0]) if normalise else [],
        "std": list(normalise[1]) if normalise else [],
        "classes": list(task.classes),
    }


def _skeleton(model: nn.Module, inputs: Any) -> bytes:
    """The ONNX graph without weights; nothing where the network cannot be exported here."""
    from prunus.deploy.skeleton import skeleton
    from prunus.errors import PrunusError

    try:
        return skeleton(model, inputs, dynamic_batch=True)
    except PrunusError:
        return b""


def _record(packed: Packed, opened: Any, task: Any, settings: PackSettings, command: str) -> dict[str, Any]:
    from prunus.tasks.words import metric_text

    kind, value = packed.target
    return {
        "kind": "packed",
        "command": command,
        "model": opened.record(),
        "data": task.name,
        "metric": metric_text(task),
        "target": {kind: value},
        "path": str(packed.path),
        "bytes": packed.bytes,
        "original_bytes": packed.original_bytes,
        "before": packed.before,
        "after": packed.after,
        "stages": dict(packed.stages),
        "layers": [asdict(layer) | {"bits": layer.bits} for layer in packed.layers],
        "limit": packed.limit,
        "trials": [_numbers(asdict(trial)) for trial in packed.trials],
        "confidence": settings.confidence,
        "seed": settings.seed,
        "seconds": dict(packed.seconds),
        "notes": [*opened.notes(), *packed.notes],
    }


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }


@door(ConfigError)
def unpack(
    path: Path | str, output: Path | str, *, int8: bool = False, build: str = "", watch: Watch = unwatched
) -> dict[str, Any]:
    """Write what a coded file holds as a file that others open, with exactly its values.

    Args:
        path: the coded file.
        output: `.safetensors` for `prunus.load` and PyTorch, `.onnx` for every runtime.
        int8: weights whose integers fit into 8 bits stay integers in the ONNX file, which turns them into
            numbers when it runs: the same outputs, a quarter of the bytes.
        build: package.module:function that makes the network, for `.safetensors` of one that is neither of
            prunus nor of a library.
        watch: told about progress.

    Raises:
        ConfigError: another ending, `int8` for what is no ONNX file, or a network that `build` must make.
        FileFormatError: the file is no coded one, or cannot become what was asked for.
    """
    path, output = Path(path), Path(output)
    check_target(output, "the unpacked file", path)
    if output.suffix not in (".safetensors", ".onnx"):
        raise ConfigError(
            f"{output.name}: a coded file is unpacked to .safetensors, for prunus and PyTorch, or to .onnx."
        )
    if int8 and output.suffix != ".onnx":
        raise ConfigError("Integers of 8 bits are for ONNX files; leave --int8 out, or name a file .onnx.")
    watch(f"decoding {path.name}", 0, 0)
    if output.suffix == ".onnx":
        from prunus.deploy.skeleton import write_onnx

        kept = write_onnx(path, output, int8=int8)
    else:
        from prunus.storage import save

        kept, model = 0, model_in(path, build)
        _check_plan(path, model)
        save(model, output)
    return {
        "path": str(output),
        "bytes": output.stat().st_size,
        "coded_bytes": path.stat().st_size,
        "integers": kept,
    }


def _check_plan(path: Path, model: nn.Module) -> None:
    """Raises FileFormatError for a pruned network whose file does not say what was removed: a safetensors
    file of it could not be loaded.
    """
    from prunus.models.built import built_as
    from prunus.paint.model_copy import named_tensors
    from prunus.storage.coded_model import on_meta

    built = built_as(model)
    if built is None or getattr(model, "prunus", None) is not None:
        return
    dense = named_tensors(on_meta(built.name, dict(built.options)))
    if any(
        tensor.shape != dense[name].shape for name, tensor in named_tensors(model).items() if name in dense
    ):
        raise FileFormatError(
            f"{path.name} holds a pruned network and not what was removed, without which prunus could not"
            " load a safetensors file of it: unpack it to .onnx, or pack it without --bare."
        )


__all__ = ["PackSettings", "pack", "unpack"]
