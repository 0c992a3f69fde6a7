"""How few bytes a network takes in a coded file, and what it loses by that.

    python -m benchmarks.coding after --data DIR --models DIR --called 'CIFAR-10, JPEG' --network resnet20
        --weights FILE [--errors 0.01 0.02 0.03] [--seeds 0 1 2] [--ways 'two grids in turn'] [--samples 1024]
    python -m benchmarks.coding peer --data DIR --called 'CIFAR-10, JPEG' --network resnet20 --weights FILE
        --peer-python PYTHON [--steps -32 -30 -28 -26 -24]
    python -m benchmarks.coding trained --data DIR --models DIR --network lenet5 [--seeds 0 1 2] [--ways '*']
        [--weights FILE] [--rates RATE ...]
    python -m benchmarks.coding paper --data DIR --models DIR --network lenet5 [--seeds 0 1 2]
    python -m benchmarks.coding pictures --data DIR --models DIR --called 'EM membranes' [--errors 0.01 0.02]
    python -m benchmarks.coding speed --models DIR
    python -m benchmarks.coding table

After the training: public weights on grids (`prunus.quantisation.quantise`), for several draws of the
calibration samples, and the same without one of its parts; beside them NNCodec (`benchmarks.coding_peer`), of
which several settings are tried. Trained, by the recipe of the paper, and of networks that segment: see
`benchmarks.coding_trained`, `benchmarks.coding_paper` and `benchmarks.coding_pictures`. Decoding is timed by
itself, when nothing else runs, from the files that the others left in --models.

A row is written as soon as it is there, and rows that exist are not measured again.
"""

from __future__ import annotations

import argparse
import fnmatch
import time
import tracemalloc
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.coding_files import MODULE, RESULT, code_of, file_of, key_of, parameters, tell
from benchmarks.coding_paper import paper
from benchmarks.coding_peer import absent, coded
from benchmarks.coding_pictures import pictures
from benchmarks.coding_subjects import Subject, informative, subject, with_values
from benchmarks.coding_table import AFTER, GRIDS, ONE_GRID, PEER, table
from benchmarks.coding_trained import trained
from benchmarks.rows import Row, add, complete, kept, measured_before, record
from prunus.coding import container
from prunus.coding.tensors import Codebook, Grid
from prunus.paint.trace import trace
from prunus.quantisation.folding import condense_norms, fold_norms
from prunus.quantisation.grid import quantise
from prunus.quantisation.sharing import error_shares
from prunus.training import Calibration

WAYS: dict[str, dict[str, bool]] = {
    GRIDS: {},
    ONE_GRID: {"trellis": False},
    "without refitting": {"refit": False},
    "without error feedback": {"feedback": False},
    "without either": {"refit": False, "feedback": False},
}
# What the peer is tried with: norms folded into the weights, or beside them, one scale and one shift per
# channel; all with dependent quantisation and parameter optimisation, as is its default. Its default for
# shifts, -75, costs more at the same divergence.
PEER_WAYS: dict[str, dict[str, Any]] = {
    "folded norms": {"nonweight_qp": -48},
    "norms beside": {"nonweight_qp": -48},
    "norms beside, rate in the trellis": {"nonweight_qp": -48, "lambda_scale": 1.0},
    "norms beside, opt_qp": {"nonweight_qp": -48, "opt_qp": True},
    "norms beside, nonweight_qp -75": {"nonweight_qp": -75},
    "norms beside, no dependent quantisation": {"nonweight_qp": -48, "use_dq": False},
}
TIMES = 5  # that a file is decoded


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    result = kept(RESULT)
    parts: dict[str, Callable[[Row, argparse.Namespace], None]] = {
        "after": after,
        "peer": peer,
        "trained": trained,
        "paper": paper,
        "pictures": pictures,
        "speed": speed,
    }
    if options.part in parts:
        parts[options.part](result, options)
    RESULT.with_suffix(".md").write_text(table(kept(RESULT)))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["after", "peer", "trained", "paper", "pictures", "speed", "table"])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--models", type=Path, default=Path("models"), help="where files go")
    parser.add_argument("--called", default="CIFAR-10", help="what the data is called in the table")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--weights", type=Path, help="of the network")
    parser.add_argument("--errors", type=float, nargs="+", default=[0.01, 0.02, 0.03])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", help="pattern of the ways to run; all, and of grids the whole method alone")
    parser.add_argument(
        "--rates", type=float, nargs="+", help="of trained grids; those chosen for the network"
    )
    parser.add_argument("--samples", type=int, default=1024, help="calibration inputs")
    parser.add_argument("--peer-python", type=Path, help="of an environment with NNCodec")
    parser.add_argument("--steps", type=int, nargs="+", default=[-32, -30, -28, -26, -24], help="its QPs")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def after(result: Row, options: argparse.Namespace) -> None:
    """Rows of grids after the training."""
    about = subject(options)
    example = torch.zeros(1, *about.measured.images.shape[1:])
    for seed in options.seeds:
        inputs = Calibration(about.calibration, about.normalise, options.samples, seed=seed)
        shares: dict[str, float] = {}
        for way, error in product(fnmatch.filter(WAYS, options.ways or GRIDS), options.errors):
            key = key_of(options, AFTER, way, error, seed)
            if measured_before(result, key):
                continue
            if not shares:
                graph = trace(about.model, example)
                shares = error_shares(fold_norms(about.model, graph), graph, inputs)
            start = time.perf_counter()
            found = quantise(about.model, inputs, error=error, shares=shares, **WAYS[way])  # type: ignore[arg-type]
            seconds = time.perf_counter() - start
            row = key | {"calibration": min(options.samples, len(about.calibration)), "quantising": seconds}
            row |= code_of(file_of(options.models, key), found.model, found.tensors) | about.found(
                found.model
            )
            add(RESULT, result, row, record(MODULE, "numba", seed=seed))
            tell(row)


def peer(result: Row, options: argparse.Namespace) -> None:
    """Rows of NNCodec."""
    if reason := absent(options.peer_python):
        print(reason)
        return
    about: Subject | None = None
    networks: Mapping[str, nn.Module] = {}
    for way in fnmatch.filter(PEER_WAYS, options.ways or "*"):
        steps = [
            step
            for step in options.steps
            if not measured_before(result, key_of(options, PEER, way, step, None))
        ]
        if not steps:
            continue
        if about is None:
            about = subject(options)
            networks = prepared(about)
        network = networks[way.partition(",")[0]]
        settings = [PEER_WAYS[way] | {"qp": step} for step in steps]
        for step, found in zip(
            steps, coded(options.peer_python, informative(network), settings), strict=True
        ):
            row = key_of(options, PEER, way, step, None) | {"settings": PEER_WAYS[way], "bytes": found.bytes}
            row |= {"parameters": parameters(about.model)} | about.found(with_values(network, found.values))
            how = record(MODULE)
            how["environment"]["versions"]["nncodec"] = found.version
            add(RESULT, result, row, how)
            tell(row)


def prepared(about: Subject) -> dict[str, nn.Module]:
    """The network as the peer may get it: it computes the same."""
    graph = trace(about.model, torch.zeros(1, *about.measured.images.shape[1:]))
    return {"folded norms": fold_norms(about.model, graph), "norms beside": condense_norms(about.model)[0]}


def speed(result: Row, options: argparse.Namespace) -> None:
    """Time the decoding of every file that is there; nothing else may run meanwhile."""
    for row in result["rows"]:
        file = file_of(options.models, row)
        if "decoding" not in row and file.exists() and row["bytes"] == file.stat().st_size:
            complete(RESULT, result, row, "decoding", decoding(file.read_bytes()), record(MODULE, "numba"))


def decoding(data: bytes) -> dict[str, float]:
    """Millions of weights that are decoded in a second, the best of some times, and what that takes at its
    peak [bytes].
    """

    def weights() -> int:
        return sum(integers_in(entry.coded) for entry in container.tensors(container.read(data)))

    weights()  # compiles
    seconds, count = [], 0
    for _ in range(TIMES):
        start = time.perf_counter()
        count = weights()
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    weights()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"speed": count / min(seconds) / 1e6, "memory": peak}


def integers_in(tensor: Any) -> int:
    """How many integers of a tensor lie in the stream."""
    if isinstance(tensor, Grid):
        return int(tensor.integers.size)
    return int(tensor.indices.size) if isinstance(tensor, Codebook) else 0


if __name__ == "__main__":
    main()
