"""`prunus latency`: how long a forward pass takes, in the runtimes that are here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from prunus.cli import options as given
from prunus.cli.console import Bars, bars, show, show_json, show_table
from prunus.cli.verbs import typed_command
from prunus.errors import ConfigError, MissingExtraError, clause
from prunus.runs.data import Source, Wanted, inputs_of, read_data, traced
from prunus.runs.kinds import check_target
from prunus.runs.loading import open_model, parse_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from prunus.measure.runtimes import Network, Runtime
    from prunus.measure.timing import Latency
    from prunus.runs.loading import Opened


class Served(StrEnum):
    """Runtimes, and the device where that is not the CPU."""

    TORCH = "torch"
    TORCH_COMPILE = "torch-compile"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TORCH_CUDA = "torch-cuda"
    TORCH_COMPILE_CUDA = "torch-compile-cuda"

    @property
    def runtime(self) -> Runtime:
        """Its name in the library."""
        return cast("Runtime", self.value.removesuffix("-cuda"))

    @property
    def device(self) -> str:
        """Where models and inputs have to be."""
        return "cuda" if self.value.endswith("-cuda") else "cpu"

    @property
    def compiles(self) -> bool:
        """Whether it may take minutes before the first pass."""
        return self.runtime == "torch-compile"

    @property
    def reads_files(self) -> bool:
        """Whether it takes ONNX files."""
        return self.runtime in ("onnxruntime", "openvino")


@dataclass(frozen=True, eq=False)
class _Entrant:
    """A network, and the shape of one input, batch axis first; None where an ONNX file leaves it free."""

    network: Network
    shape: tuple[int | None, ...]
    record: Mapping[str, Any]


def latency(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="Models' names, NAME@WEIGHTS, folders made by prune or train, or ONNX files.",
        ),
    ],
    runtime: Annotated[
        list[Served] | None,
        typer.Option(
            "--runtime",
            help="Where to run them (repeatable); default: all that are here, but those that compile.",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option("--batch", "--batch-size", min=1, help="Samples per pass (repeatable); default: 1."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each runtime on the CPU.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Samples per model, at most.")] = 100,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A JSON file for all of it.")] = None,
    data: given.DataName = "",
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    workers: given.Workers = 0,
    ignore: given.Ignore = 255,
    window: given.Window = None,
    mean: given.Mean = "",
    std: given.Std = "",
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    as_json: given.AsJson = False,
) -> None:
    """Time models, in turns, in every runtime that is here: medians, quartiles, and whether a difference is
    certain.

    With --data they get real inputs, and networks by name are built for these; without, seeded noise, which
    takes as long in dense networks.

    For example: prunus latency resnet56 out/ --batch 1 --batch 32 -o latency.json
    """
    from prunus._foundation.environment import environment

    check_target(output, "a JSON file")
    with bars() as watch:
        wanted = Wanted(
            data, data_dir, mean, std, 0.0, limit=limit, workers=workers, ignore=ignore, window=window
        )
        shape_asked = parse_shape(input_shape)
        source = read_data(wanted, shape_asked[-1] if shape_asked else None, watch) if data else None
        entrants = _opened(models, shape_asked, build, source, watch)
        shape = _common_shape(entrants)
        chosen, notes = _runtimes(runtime, entrants)
        batches = list(dict.fromkeys(batch or [shape[0]]))
        _check_batches(entrants, batches)
        rows = [
            row
            for size in batches
            for row in _timed(entrants, _inputs(source, (size, *shape[1:])), chosen, threads, repeats, watch)
        ]
        rows.sort(key=lambda row: chosen.index(row["runtime"]))
    result: dict[str, Any] = {
        "command": typed_command(context),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "models": {name: dict(entrant.record) for name, entrant in entrants.items()},
        "latency": rows,
        "notes": notes,
    }
    if output is not None:
        from prunus.report.result import write_text

        write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", output)
    show_json(result) if as_json else _show(result, output)


def _inputs(source: Source | None, shape: tuple[int, ...]) -> Tensor:
    """A batch of this shape: of the data, over and over, or noise. Raises ConfigError where the data are of
    another shape.
    """
    import torch

    if source is None:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = inputs_of(source.task(shape[-1]), torch.empty(0), shape[0])[1]
    found = found[0] if isinstance(found, (tuple, list)) and len(found) == 1 else found
    if not isinstance(found, torch.Tensor) or found.shape[1:] != shape[1:]:
        what = (
            f"of shape {tuple(found.shape[1:])}" if isinstance(found, torch.Tensor) else "of several tensors"
        )
        raise ConfigError(
            f"The inputs of {source.wanted.name} are {what}, and the models take {_written(shape[1:])}: time"
            " them without --data."
        )
    return found.repeat(-(-shape[0] // len(found)), *[1] * (found.dim() - 1))[: shape[0]]


def _opened(
    texts: Sequence[str], shape: tuple[int, ...] | None, build: str, source: Source | None, watch: Bars
) -> dict[str, _Entrant]:
    """What the user named, by names that differ even where the same model is named twice."""
    from prunus.deploy.onnx import input_shape

    watch("building the models", 0, 0)
    found: dict[str, _Entrant] = {}
    for number, text in enumerate(texts):
        name = text if text not in found else f"{text} ({texts[: number + 1].count(text)})"
        if text.endswith(".onnx"):
            if not Path(text).is_file():
                raise ConfigError(f"{text} cannot be read as an ONNX file: there is no such file.")
            found[name] = _Entrant(Path(text), input_shape(text), {"name": text})
        else:
            build_model: Callable[..., Opened] = source.open if source else open_model
            opened = build_model(text, shape=shape, build_name=build)
            network = traced(source.task(opened.input_shape[-1]) if source else None, opened.model)
            found[name] = _Entrant(network, opened.input_shape, opened.record())
    return found


def _common_shape(entrants: Mapping[str, _Entrant]) -> tuple[int, ...]:
    """The shape that all agree on but for the batch, which is 1 where nobody says."""
    (first, entrant), *others = entrants.items()
    shape = list(entrant.shape)
    for name, other in others:
        if len(other.shape) != len(shape) or any(
            a and b and a != b for a, b in zip(shape[1:], other.shape[1:])
        ):
            raise ConfigError(
                f"{first} takes {_written(shape)} and {name} takes {_written(other.shape)}: give"
                " --input-shape for all."
            )
        shape = [a or b for a, b in zip(shape, other.shape)]
    known = [length for length in (shape[0] or 1, *shape[1:]) if length is not None]
    if len(known) < len(shape):
        raise ConfigError(
            f"{first} takes {_written(shape)}, which leaves axes free: name it beside a model of one shape."
        )
    return tuple(known)


def _written(shape: Sequence[int | None]) -> str:
    return "×".join("?" if length is None else str(length) for length in shape)


def _runtimes(
    asked: Sequence[Served] | None, entrants: Mapping[str, _Entrant]
) -> tuple[list[Served], list[str]]:
    """Where to run them, and notes on what is left out. Raises where something that was asked for by name
    cannot be used.
    """
    files = [name for name, entrant in entrants.items() if isinstance(entrant.network, Path)]
    if asked:
        for served in asked:
            _require(served, files)
        return list(dict.fromkeys(asked)), []
    chosen, notes = [], []
    for served in Served:
        if served.compiles:
            continue
        try:
            _require(served, files)
            chosen.append(served)
        except (ConfigError, MissingExtraError) as error:
            notes.append(f"Without {served}: {clause(error)}.")
    if not chosen:
        raise ConfigError(f"There is no runtime here for these models. {' '.join(notes)}")
    return chosen, notes


def _require(served: Served, files: Sequence[str]) -> None:
    """Raises ConfigError or MissingExtraError unless these can be run there."""
    import torch

    from prunus.measure.runtimes import require

    if files and not served.reads_files:
        raise ConfigError(f"{files[0]} is an ONNX file, which PyTorch cannot run.")
    if served.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no GPU that CUDA can use.")
    require(served.runtime)


def _check_batches(entrants: Mapping[str, _Entrant], batches: Sequence[int]) -> None:
    """A file that was exported for one batch takes no other."""
    for name, entrant in entrants.items():
        fixed = entrant.shape[0] if isinstance(entrant.network, Path) else None
        if fixed is not None and set(batches) != {fixed}:
            raise ConfigError(
                f"{name} takes batches of {fixed} and no others: give --batch {fixed}, or the model that the"
                " file was exported from."
            )


def _timed(
    entrants: Mapping[str, _Entrant],
    inputs: Tensor,
    chosen: Sequence[Served],
    threads: int,
    repeats: int,
    watch: Bars,
) -> list[dict[str, Any]]:
    """One row per runtime and model, on one batch of inputs."""
    from prunus.measure.runtimes import onnx_files, time_models

    shape = tuple(inputs.shape)
    networks = {name: entrant.network for name, entrant in entrants.items()}
    rows = []
    with ExitStack() as stack:
        files: dict[str, Path] = {}
        for served in chosen:
            if served.reads_files and not files:
                watch(f"exporting to ONNX, batch {shape[0]}", 0, 0)
                files = stack.enter_context(onnx_files(_placed(networks, "cpu"), inputs))
            watch(
                f"{'compiling for and timing' if served.compiles else 'timing'} {served}, batch {shape[0]}",
                0,
                0,
            )
            placed: Mapping[str, Network] = files if served.reads_files else _placed(networks, served.device)
            times = time_models(
                placed, inputs.to(served.device), runtime=served.runtime, threads=threads, repeats=repeats
            )
            rows += [_row(served, shape, threads, name, times) for name in times]
    _placed(networks, "cpu")
    return rows


def _placed(networks: Mapping[str, Network], device: str) -> dict[str, Network]:
    """The networks, moved; files stay where they are."""
    return {
        name: network if isinstance(network, Path) else network.to(device)
        for name, network in networks.items()
    }


def _row(
    served: Served, shape: tuple[int, ...], threads: int, name: str, times: Mapping[str, Latency]
) -> dict[str, Any]:
    """A measurement, and how many times faster than the first model it is."""
    from prunus.measure.timing import speedup

    first, found = next(iter(times)), times[name]
    samples = [round(sample, 4) for sample in found.samples_ms]  # a clock is not better than that
    return {
        "runtime": served.value,
        "batch": shape[0],
        "input_shape": list(shape),
        "threads": threads,
        "model": name,
        **asdict(found),
        "samples_ms": samples,
        "speedup": asdict(speedup(times[first], found)) if name != first else None,
    }


def _show(result: Mapping[str, Any], output: Path | None) -> None:
    from rich.markup import escape

    from prunus.report import words

    rows, before = [], None
    for row in result["latency"]:
        place = row["runtime"], f"{row['batch']}"
        faster = row["speedup"]
        change = (
            ""
            if faster is None
            else words.faster(faster["factor"])
            if faster["certain"]
            else "within the noise"
        )
        quartiles = f"{words.significant(row['q25_ms'])} to {words.milliseconds(row['q75_ms'])}"
        rows.append(
            (
                *(place if place != before else ("", "")),
                row["model"],
                words.milliseconds(row["median_ms"]),
                quartiles,
                change,
            )
        )
        before = place
    show_table("", ("runtime", "batch", "model", "median", "quartiles", "against the first"), rows, left=3)
    threads = result["latency"][0]["threads"]
    show(
        f"\n{threads} thread{'s' if threads > 1 else ''}; at most"
        f" {max(row['repeats'] for row in result['latency'])} samples of each, in turns."
    )
    for note in result["notes"]:
        show(f"Note: {escape(note)}")
    if output is not None:
        show(f"All samples and the environment: [bold]{escape(str(output))}[/bold]")
