"""A whole measurement of latency: networks by name, and ONNX files, in the runtimes that are here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from prunus._foundation.arguments import check_fields, door
from prunus._foundation.environment import environment
from prunus._foundation.json_files import to_json
from prunus._foundation.progress import Watch, unwatched
from prunus.deploy.inputs import Inputs, tensors
from prunus.errors import ConfigError, MissingExtraError, clause
from prunus.measure import runtimes
from prunus.measure.timing import speedup
from prunus.report.result import write_text
from prunus.runs.data import Data, Source, data_of, open_network, read_data, traced
from prunus.runs.kinds import check_target
from prunus.runs.limits import check_settings
from prunus.runs.names import Served
from prunus.runs.settings import Network, files_of, network_of
from prunus.runs.timed_inputs import Entrant, batch, common, of_file, of_model

if TYPE_CHECKING:
    from prunus.measure.runtimes import Network as Timed
    from prunus.measure.timing import Latency


@dataclass(frozen=True)
class LatencySettings:
    """Where networks are timed, and how.

    Attributes:
        runtime: where; none = all that are here, but those that compile.
        batch: samples per pass; none = what the networks say, or 1.
        threads: of each runtime on the CPU.
        repeats: samples per network, at most.

    Raises:
        ConfigError: a setting is of another kind, or out of range.
    """

    runtime: tuple[Served, ...] = ()
    batch: tuple[int, ...] = ()
    threads: int = 1
    repeats: int = 100

    def __post_init__(self) -> None:
        known = [served.value for served in Served]
        for name in self.runtime:
            if name not in known:
                raise ConfigError(f"runtime must be of {', '.join(known)}, not {name!r}.")
        object.__setattr__(self, "runtime", tuple(Served(name) for name in self.runtime))
        check_fields(self, ConfigError)
        check_settings({field.name: getattr(self, field.name) for field in fields(self)}, {})


@door(ConfigError)
def latency(
    models: Sequence[Network | str],
    settings: LatencySettings | None = None,
    data: Data | str | None = None,
    *,
    output: Path | None = None,
    command: str = "",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Time networks, in turns, in every runtime that is here: medians, quartiles, and whether a difference is
    certain.

    Args:
        models: networks, or ONNX files.
        settings: where, and how; None = as is usual.
        data: inputs, for which networks by name are built; None = seeded noise, which takes as long in dense
            networks.
        output: a JSON file for all of it; None = none.
        command: what the user typed, if it was a command.
        watch: told about progress.

    Raises:
        ConfigError, MissingExtraError, DataError, PrunusError: what is named is not there, or cannot be run
            together.
    """
    if not len(models):
        raise ConfigError("There is no network to time: give one at least.")
    settings, networks = settings or LatencySettings(), [network_of(model) for model in models]
    check_target(output, "a JSON file", *files_of(*networks), endings=(".json",))
    named, asked = data_of(data, 0), next((one.input_shape for one in networks if one.input_shape), None)
    source = read_data(named, asked[-1] if asked else None, watch) if named else None
    watch("building the models", 0, 0)
    entrants = _entrants(networks, source)
    takes = common(entrants)
    chosen, notes = _runtimes(settings.runtime, entrants)
    batches = list(dict.fromkeys(settings.batch or [(*takes[0].shape, 1)[0] or 1]))
    _check_batches(entrants, batches)
    rows = [
        row
        for size in batches
        for row in _timed(entrants, batch(entrants, takes, source, size), size, chosen, settings, watch)
    ]
    rows.sort(key=lambda row: chosen.index(row["runtime"]))
    result: dict[str, Any] = {
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "models": {name: dict(entrant.record) for name, entrant in entrants.items()},
        "latency": rows,
        "notes": notes,
    }
    if output is not None:
        write_text(to_json(result, 2) + "\n", output)
    return result


def _entrants(networks: Sequence[Network], source: Source | None) -> dict[str, Entrant]:
    """What the user named, by names that differ even where the same model is named twice."""
    found: dict[str, Entrant] = {}
    texts = [network.name for network in networks]
    for number, (text, network) in enumerate(zip(texts, networks)):
        name = text if text not in found else f"{text} ({texts[: number + 1].count(text)})"
        if text.endswith(".onnx"):
            found[name] = of_file(text)
        else:
            one = open_network(network, source)
            found[name] = of_model(
                one, traced(source.task(one.input_shape[-1]) if source else None, one.model)
            )
    return found


def _runtimes(
    asked: Sequence[Served] | None, entrants: Mapping[str, Entrant]
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
    if files and not served.reads_files:
        raise ConfigError(f"{files[0]} is an ONNX file, which PyTorch cannot run.")
    if served.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no GPU that CUDA can use.")
    runtimes.require(served.runtime)


def _check_batches(entrants: Mapping[str, Entrant], batches: Sequence[int]) -> None:
    """A file that was exported for one batch takes no other."""
    for name, entrant in entrants.items():
        fixed = entrant.takes[0].shape[:1] if isinstance(entrant.network, Path) else ()
        if fixed and fixed[0] is not None and set(batches) != set(fixed):
            raise ConfigError(
                f"{name} takes batches of {fixed[0]} and no others: give --batch {fixed[0]}, or the model"
                " that the file was exported from."
            )


def _timed(
    entrants: Mapping[str, Entrant],
    inputs: Inputs,
    size: int,
    chosen: Sequence[Served],
    settings: LatencySettings,
    watch: Watch,
) -> list[dict[str, Any]]:
    """One row per runtime and model, on one batch of inputs."""
    shapes = [list(tensor.shape) for tensor in tensors(inputs)]
    networks = {name: entrant.network for name, entrant in entrants.items()}
    rows = []
    with ExitStack() as stack:
        files: dict[str, Path] = {}
        for served in chosen:
            if served.reads_files and not files:
                watch(f"exporting to ONNX, batch {size}", 0, 0)
                files = stack.enter_context(runtimes.onnx_files(_placed(networks, "cpu"), inputs))
            watch(
                f"{'compiling for and timing' if served.compiles else 'timing'} {served}, batch {size}",
                0,
                0,
            )
            placed: Mapping[str, Timed] = files if served.reads_files else _placed(networks, served.device)
            times = runtimes.time_models(
                placed,
                tree_map_only(Tensor, methodcaller("to", served.device), inputs),
                runtime=served.runtime,
                threads=settings.threads,
                repeats=settings.repeats,
            )
            rows += [_row(served, size, shapes, settings.threads, name, times) for name in times]
    _placed(networks, "cpu")
    return rows


def _placed(networks: Mapping[str, Timed], device: str) -> dict[str, Timed]:
    """The networks, moved; files stay where they are."""
    return {
        name: network if isinstance(network, Path) else network.to(device)
        for name, network in networks.items()
    }


def _row(
    served: Served,
    size: int,
    shapes: list[list[int]],
    threads: int,
    name: str,
    times: Mapping[str, Latency],
) -> dict[str, Any]:
    """A measurement, and how many times faster than the first model it is."""
    first, found = next(iter(times)), times[name]
    samples = [round(sample, 4) for sample in found.samples_ms]  # a clock is not better than that
    return {
        "runtime": served.value,
        "batch": size,
        "input_shape": shapes[0],
        **({"input_shapes": shapes} if len(shapes) > 1 else {}),
        "threads": threads,
        "model": name,
        **asdict(found),
        "samples_ms": samples,
        "speedup": asdict(speedup(times[first], found)) if name != first else None,
    }
