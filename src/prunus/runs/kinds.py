"""What a user named in place of a model: one sentence for every kind of file that holds none that prunus can
take apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from prunus.errors import ConfigError, FileFormatError

WEIGHTS = (".pt", ".pth", ".th", ".ckpt", ".bin", ".npz", ".tar")
OTHERS = {
    ".h5": "Keras",
    ".keras": "Keras",
    ".hdf5": "Keras",
    ".tflite": "TensorFlow Lite",
    ".pb": "TensorFlow",
    ".mlmodel": "Core ML",
    ".mlpackage": "Core ML",
    ".engine": "TensorRT",
    ".plan": "TensorRT",
    ".xml": "OpenVINO",
    ".caffemodel": "Caffe",
    ".prototxt": "Caffe",
    ".pdmodel": "Paddle",
}
ARCHIVES = (".zip", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar")
RECORDS = (".json", ".toml", ".yaml", ".yml", ".html", ".csv", ".txt", ".jsonl")
MODULES = (".py", ".ipynb")
OURS = (".onnx", ".ort", ".safetensors", ".prunus")
PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pdf", ".png", ".svg", ".tif", ".tiff", ".webp")
SAYING = frozenset((*WEIGHTS, *OTHERS, *ARCHIVES, *RECORDS, *MODULES, *OURS, *PICTURES))  # what a file holds


def check_kind(text: str) -> None:
    """Raises ConfigError unless the text may be the name of a model, or of a file or a folder that may hold
    one.
    """
    if not text.strip():
        raise ConfigError(
            "The name of the model is empty: give one of ours, timm/NAME, torchvision/NAME,"
            " pkg.module:factory, or a folder."
        )
    if "\0" in text:
        raise ConfigError("The name of the model holds a zero byte, which no name and no path has.")
    path = Path(text)
    suffix = path.suffix.lower()
    is_file = _is_file(path)
    if suffix == ".onnx" or (is_file and suffix == ".ort"):
        raise ConfigError(
            f"{text} is an ONNX file, and ONNX files cannot be pruned, trained or taken apart: give the"
            " PyTorch model that it was exported from, by its name, as pkg.module:factory, or as the folder"
            " that prune or train made."
        )
    if ("@" in text or ":" in text) and not is_file:
        return  # NAME@WEIGHTS, and pkg.module:factory
    if suffix in WEIGHTS and (is_file or "/" not in text):
        raise ConfigError(
            f"{text} holds weights and no network: say which network they belong to, as NAME@{text}, or NAME"
            f" --weights {text}."
        )
    if suffix in OTHERS:
        raise ConfigError(
            f"{text} is a file of {OTHERS[suffix]}, which prunus cannot read: give the PyTorch model."
        )
    if suffix in ARCHIVES:
        raise ConfigError(f"{text} is an archive: unpack it, and give the folder or the model in it.")
    if suffix in MODULES and (is_file or "/" in text):
        raise ConfigError(
            f"{text} is source: name the function in it that builds the model, as in {path.stem}:build."
        )
    if suffix in RECORDS and is_file:
        raise ConfigError(f"{text} is no model: give the folder that holds model.safetensors.")
    if is_file and suffix not in (".safetensors", ".prunus") and not _is_coded(path):
        raise ConfigError(
            f"{text} is a file of a kind that prunus does not know: models are .safetensors and .prunus files"
            " and folders made by prune or train."
        )


def check_own(path: Path, text: str) -> None:
    """Raises FileFormatError unless a model's file is there, and is one that prunus wrote rather than plain
    weights.
    """
    if not path.is_file():
        if Path(text).is_dir():
            raise FileFormatError(
                f"There is no compact model in {text}: it holds no {path.name}, as the folders of prune and"
                " train do."
            )
        raise FileFormatError(f"There is no compact model {path}.")
    if _is_coded(path):
        return
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except Exception:  # what is wrong with it is told by whoever reads it as a whole
        return
    if "prunus" not in metadata:
        raise FileFormatError(
            f"{path} holds plain weights and no network: say which network they belong to, as NAME@{path}."
        )


def check_target(
    path: Path | None, what: str, *sources: Path | str | None, endings: Sequence[str] = ()
) -> None:
    """Raises ConfigError where a file that is to be written is a folder, would lie in a file, is what the
    command reads, or has the name of another kind of file; FileFormatError where it is a pipe or a device.

    Args:
        path: the file; None = none is written.
        what: it is.
        sources: what is read, as the user named it: files, folders of runs, NAME@WEIGHTS.
        endings: of names for what is written; names that say nothing are taken as well.
    """
    if path is None:
        return
    if endings and path.suffix.lower() in SAYING - {*endings}:
        raise ConfigError(
            f"{path} is the name of another kind of file: -o names {what}, which ends in"
            f" {' or '.join(endings)}."
        )
    from prunus.storage.lock import check_file, check_place

    check_place(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: -o names {what}.")
    over = next((folder for folder in path.parents if folder.exists()), None)
    if over is not None and not over.is_dir():
        raise ConfigError(f"{over} is a file, so {path} cannot lie in it: -o names {what}.")
    check_file(path)
    if path.exists() and any(path.samefile(file) for file in _read_of(sources)):
        raise ConfigError(
            f"{path} is read by this command, and would be lost: -o names {what}, another file."
        )


def _read_of(sources: Iterable[Path | str | None]) -> Iterator[Path]:
    """The files that are there of what a user named."""
    from prunus.runs.records import RESULT_FILE, TRAINING_FILE
    from prunus.storage.file import file_in

    for source in map(str, filter(None, sources)):
        for place in map(Path, filter(None, {source, *source.split("@")})):
            with suppress(OSError, ValueError):  # a name that is too long, or no name of a file
                records = (place / name for name in (RESULT_FILE, TRAINING_FILE))
                yield from (file for file in (file_in(place), *records) if file.is_file())


def _is_coded(path: Path) -> bool:
    from prunus.storage.coded_file import is_coded_file

    return is_coded_file(path)


def _is_file(path: Path) -> bool:
    """Whether it is there and no folder; what cannot be looked at is not there."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
