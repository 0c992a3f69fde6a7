"""A network by its name, as an ONNX file that was checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prunus._foundation.arguments import check_fields, door
from prunus._foundation.progress import Watch, unwatched
from prunus.deploy import onnx, onnx_file
from prunus.deploy.sheet import DataSheet
from prunus.errors import ConfigError
from prunus.runs.data import open_network
from prunus.runs.kinds import check_target
from prunus.runs.settings import Network, files_of, network_of
from prunus.runs.texts import parse_planes


@dataclass(frozen=True)
class ExportSettings:
    """What an ONNX file is to take.

    Attributes:
        dynamic_batch: batches of any size.
        takes_pixels: pixels from 0 to 255, which the file normalises itself.
        mean, std: of the planes, as text, "0.485,0.456,0.406"; "" = what the folder of the network says.
        seed: of the inputs on which the file is checked.
    """

    dynamic_batch: bool = False
    takes_pixels: bool = False
    mean: str = ""
    std: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)


USUAL = ExportSettings()


@door(ConfigError)
def export(
    model: Network | str, output: Path | str, settings: ExportSettings = USUAL, *, watch: Watch = unwatched
) -> dict[str, Any]:
    """Write a network to an ONNX file, which appears only if ONNX Runtime computes with it what PyTorch
    computes.

    Args:
        model: which.
        output: the file.
        settings: what it is to take.
        watch: told about progress.

    Returns:
        The file, its size, the shape of its inputs, and how well it agrees.

    Raises:
        MissingExtraError, ConfigError, PrunusError: the extra `onnx` is missing, the file cannot be written,
            or the network cannot be exported.
    """
    output, network = Path(output), network_of(model)
    check_target(output, "the ONNX file", *files_of(network), endings=(".onnx",))
    onnx_file.require()
    watch("building the model", 0, 0)
    opened = open_network(network)
    watch("exporting to ONNX", 0, 0)
    means, stds = opened.normalise or ((), ())
    planes = opened.input_shape[1]
    sheet = DataSheet(
        opened.classes,
        parse_planes(settings.mean, planes, "mean") or tuple(means),
        parse_planes(settings.std, planes, "std") or tuple(stds),
    )
    check = onnx.export(
        opened.model,
        opened.arguments(settings.seed),
        output,
        settings.dynamic_batch,
        sheet=sheet,
        takes_pixels=settings.takes_pixels,
    )
    return {
        "model": opened.record(),
        "notes": list(opened.notes()),
        **asdict(check),
        "path": str(check.path),
        "bytes": check.path.stat().st_size,
    }
