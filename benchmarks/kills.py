"""Random kills of whole command lines: nothing is half-written, a folder holds the old files or the new ones,
and the next run succeeds.

    python -m benchmarks.kills [--kills 30] [--kinds train prune ...] [--seed 0]

Every third kill is a SIGTERM, the others are SIGKILLs, at a random moment of a run into a folder that holds
the files of an earlier one. After each kill every file is opened by its reader. What was killed is then run
again; trainings go on where they were, and their weights at the end are those of a training that nobody
touched. The kind `python` is a training through the Python API that is two-fold (samples dropped, filters
softly pruned, weights averaged, images that grow) with a checkpoint several times a second, so that kills
meet it in the middle of epochs and of writing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image

from benchmarks.environment import RESULTS
from benchmarks.rows import record, signed, write
from prunus._foundation.run_files import FILES
from prunus.data import load
from prunus.deploy.onnx_file import session
from prunus.methods.soft import SoftPruning
from prunus.models import resnet20
from prunus.report.result import read
from prunus.selection import EasyDropped, Scheduled
from prunus.storage import lock, read_header, read_tree, write_tree
from prunus.training import TrainConfig, train

PRUNUS = ("-c", "from prunus.cli.app import app; app()")
EARLIER = (*PRUNUS, "prune", "lenet5", "--input-shape", "1,1,8,8", "--rate", "0.5", "--no-onnx", "-o")
TRAINING = (
    *PRUNUS,
    "train",
    "digits",
    "lenet5",
    "--epochs",
    "12",
    "--lr",
    "0.05",
    "--select",
    "easy-dropped",
    "--warmup-epochs",
    "1",
    "-o",
)
COMPRESSING = (
    *PRUNUS,
    "compress",
    "lenet5",
    "--data",
    "digits",
    "--rate",
    "0.4",
    "--epochs",
    "2",
    "--int8",
    "--int8-tolerance",
    "100",
    "-o",
)
SEGMENTING = (
    *PRUNUS,
    "segment",
    "picture.png",
    "--model",
    "unet",
    "--input-shape",
    "1,3,64,64",
    "--tile",
    "64",
    "--overlap",
    "16",
    "-o",
)


@dataclass(frozen=True)
class Kind:
    """A command line that is killed.

    Attributes:
        words: of Python, up to the output, which comes last.
        earlier: writes the files that are there before; () where there are none.
        output: of the command, in the folder.
        resumed: words that go on with a training, or () where it begins anew.
        same: files that are the same in every run, byte for byte.
    """

    words: tuple[str, ...]
    earlier: tuple[str, ...] = EARLIER
    output: str = ""
    resumed: tuple[str, ...] = ()
    same: tuple[str, ...] = ("model.safetensors",)


KINDS = {
    "train": Kind(TRAINING, resumed=(*PRUNUS, "train", "--resume", "-o")),
    "prune": Kind(
        (*PRUNUS, "prune", "lenet5", "--data", "digits", "--rate", "0.4", "--epochs", "2", "-o"),
        same=("model.safetensors", "plan.json"),
    ),
    "compress": Kind(COMPRESSING),
    "segment": Kind(SEGMENTING, SEGMENTING, "picture-mask.png", same=()),  # its weights are random
    "demo": Kind((*PRUNUS, "demo", "-o")),
    "python": Kind(("-m", "benchmarks.kills", "--worker"), earlier=(), same=("end",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    rng, rows = random.Random(options.seed), list[dict[str, Any]]()
    for place, name in enumerate(options.kinds):
        count = options.kills // len(options.kinds) + (place < options.kills % len(options.kinds))
        with tempfile.TemporaryDirectory() as folder:
            found = killed(KINDS[name], Path(folder), count, rng)
        print(f"{name}: {len(found['kills'])} kills, faults: {found['faults'] or 'none'}", flush=True)
        rows.append(signed({"kind": name} | found, record("benchmarks.kills", seed=options.seed)))
        write(RESULTS / "kills.json", rows)


def killed(kind: Kind, place: Path, count: int, rng: random.Random) -> dict[str, Any]:
    """One kind, killed so many times, and what was found."""
    whole, earlier, broken = (place / name for name in ("whole", "earlier", "broken"))
    for folder in (whole, earlier):
        folder.mkdir()
        _picture(folder / "picture.png")
    start = time.perf_counter()
    finish(kind.words, kind, whole)
    seconds = time.perf_counter() - start
    if kind.earlier:
        finish(kind.earlier, kind, earlier)
    old = digests(earlier)
    shutil.copytree(earlier, broken)
    kills: list[dict[str, Any]] = []
    faults: list[str] = []
    while len(kills) < count:
        after = rng.uniform(0.5, seconds)
        number = signal.SIGTERM if len(kills) % 3 == 2 else signal.SIGKILL
        process = start_run(_next(kind, broken), kind, broken)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            process.wait()
            raw = _mixture(broken, old)
            lock.settle(broken)  # as whatever opens the folder does
            files = "new" if digests(broken) != old else "old"
            kills.append(
                {
                    "after": round(after, 1),
                    "signal": number.name,
                    "exit": process.returncode,
                    "files": files,
                    "progress": progress(broken),
                }
            )
            faults += [f"kill {len(kills)}: {fault}" for fault in (*raw, *unreadable(broken))]
            if number == signal.SIGTERM and process.returncode not in (
                143,
                -number,
            ):  # before its handlers are there
                faults.append(f"kill {len(kills)}: exit code {process.returncode}")
        else:
            faults += (
                [f"after kill {len(kills)}: exit code {process.returncode}"] if process.returncode else []
            )
        if digests(broken) != old:  # it came to its end: once more from the earlier files
            shutil.rmtree(broken)
            shutil.copytree(earlier, broken)
    finish(_next(kind, broken), kind, broken)
    faults += [f"{path} is left" for path in broken.rglob(".*")] + unreadable(broken)
    faults += [
        f"{name} is another than in the unbroken run"
        for name in kind.same
        if (broken / name).read_bytes() != (whole / name).read_bytes()
    ]
    return {
        "seconds_unbroken": round(seconds, 1),
        "kills": kills,
        "equal_to_the_unbroken": list(kind.same),
        "faults": faults,
    }


def _next(kind: Kind, folder: Path) -> tuple[str, ...]:
    """What goes on with a training, or begins anew."""
    return kind.resumed if kind.resumed and any(folder.glob("checkpoint*")) else kind.words


def start_run(
    words: tuple[str, ...], kind: Kind, folder: Path, errors: int | IO[bytes] = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """A command that writes into a folder."""
    inside = folder if kind.output else None
    return subprocess.Popen(
        [sys.executable, *words, str(folder / kind.output)],
        cwd=inside,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )


def finish(words: tuple[str, ...], kind: Kind, folder: Path) -> None:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as errors:
        if code := start_run(words, kind, folder, errors).wait():
            errors.seek(0)
            raise SystemExit(f"{words} in {folder} ended with {code}: {errors.read().decode()[-2000:]}")


def digests(folder: Path) -> dict[str, str]:
    """The files of a run, by their content."""
    names = (*FILES, "picture-mask.png", "picture-overlay.png", "end")
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in names
        if (folder / name).is_file()
    }


def _mixture(folder: Path, old: Mapping[str, str]) -> list[str]:
    """What a reader who knows nothing of journals would find: old files beside new ones."""
    now = digests(folder)
    same = [name for name in now if old.get(name) == now[name]]
    return [f"{same} are old and the rest of {list(now)} is new"] if same and len(same) < len(now) else []


def progress(folder: Path) -> dict[str, int] | None:
    """Where a killed training will go on."""
    paths = list(folder.glob("checkpoint*"))
    if not paths:
        return None
    found = read_tree(paths[0])["progress"]
    return {"epoch": found["epoch"], "step": found["step"] if found["order"] is not None else 0}


def unreadable(folder: Path) -> list[str]:
    """Files that their readers do not open, and results that do not belong to the files beside them."""
    faults = []
    for path in sorted(folder.rglob("*")):
        reader = READERS.get(path.suffix) if path.is_file() and not path.name.startswith(".") else None
        try:
            if path.name.startswith(("checkpoint", "end")):
                read_tree(path)
            elif reader is not None:
                reader(path)
        except Exception as error:
            faults.append(f"{path.name} is not opened: {error}")
    return faults + list(_foreign(folder))


def _foreign(folder: Path) -> Iterator[str]:
    """Plans and sizes that are not those of the files beside them."""
    if (folder / "plan.json").is_file() and read_header(folder / "model.safetensors").get(
        "plan", ""
    ).strip() != (folder / "plan.json").read_text().strip():
        yield "plan.json is not that of the model"
    if (folder / "result.json").is_file():
        for found in read(folder / "result.json")["files"].values():
            if (
                not (folder / found["path"]).is_file()
                or (folder / found["path"]).stat().st_size != found["bytes"]
            ):
                yield f"{found['path']} is not that of result.json"


def _lines(path: Path) -> None:
    for line in path.read_text().splitlines():
        json.loads(line)


def _page(path: Path) -> None:
    if not path.read_text().rstrip().endswith("</html>"):
        raise ValueError("it has no end")


def _image(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


READERS: Mapping[str, Callable[[Path], object]] = {
    ".safetensors": read_header,
    ".onnx": lambda path: session(path, threads=1),
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": _lines,
    ".toml": lambda path: tomllib.loads(path.read_text()),
    ".html": _page,
    ".png": _image,
    ".npy": np.load,
}


def _picture(path: Path) -> None:
    """A picture of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(path)


def work(folder: Path) -> None:
    """The training through the Python API."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    digits, model = load("digits"), resnet20(in_channels=1)
    split = digits.train
    config = TrainConfig(
        epochs=12, batch_size=16, lr=1e-3, ema=0.99, augment="crop", first_size=0.5, optimizer="adamw"
    )
    history = train(
        model,
        split,
        config,
        normalise=digits.normalise,
        curriculum=Scheduled(
            EasyDropped(len(split), 0.5), split.labels.numpy(), warmup=2, annealing=0.1, least=0.2
        ),
        pruning=SoftPruning(torch.zeros(1, 1, 8, 8), 0.3, growth="asymptotic"),
        checkpoint=folder / "checkpoint",
        checkpoint_seconds=0.1,
        resume=True,
    )
    write_tree(
        folder / "end", {"weights": model.state_dict(), "losses": [epoch.loss for epoch in history.epochs]}
    )


if __name__ == "__main__":
    main()
