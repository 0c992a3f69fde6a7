"""Latency on this machine: models take turns, the first rounds are thrown away, and quartiles are kept.

Two models that are timed one after the other are compared across two moments of the machine (clock speed,
neighbours, caches). Here they take turns, sample by sample, so that a slow moment hits both; the median is
not moved by the few samples that it hits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.deploy.inputs import Inputs, split, tensors
from prunus.deploy.onnx_file import feeds, session
from prunus.errors import ConfigError
from prunus.paint.inputs import called
from prunus.plans.verify import evaluating

Clock = Callable[[], float]

# A sample shorter than this is mostly noise of the clock and the scheduler: quick models run several times
# per sample.
SHORTEST_SAMPLE_S = 0.002

CERTAIN = 0.01  # two models differ if chance alone would tell them apart less often than this
FEWEST_ROUNDS = 20


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass.

    Attributes:
        median_ms: milliseconds, median over the samples.
        q25_ms: milliseconds, lower quartile.
        q75_ms: milliseconds, upper quartile.
        repeats: number of samples.
        samples_ms: the samples in the order of the rounds, milliseconds per pass.
    """

    median_ms: float
    q25_ms: float
    q75_ms: float
    repeats: int
    samples_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Speedup:
    """How many times faster one model is than another that was measured in the same rounds.

    Attributes:
        factor: median over the rounds of the first model's time divided by the second's.
        wins: share of the rounds in which the second was faster.
        certain: a two-sided sign test tells the two apart (p < 0.01).
    """

    factor: float
    wins: float
    certain: bool


@door(ConfigError)
def speedup(before: Latency, after: Latency) -> Speedup:
    """Compare round by round: a slow moment of the machine hits both samples of a round, or either as likely
    as the other.

    The sign test (Arbuthnot 1710) counts rounds and asks nothing of the distribution of times, which on a
    busy machine has several humps: if neither model were faster, each would win half of the rounds.

    Raises:
        ConfigError: the two were not measured in the same rounds.
    """
    pairs = [(a, b) for a, b in zip(before.samples_ms, after.samples_ms) if a != b]
    if not before.samples_ms or len(before.samples_ms) != len(after.samples_ms):
        raise ConfigError("A speed-up needs two models that were measured in the same rounds.")
    ratios = torch.tensor([a / b for a, b in zip(before.samples_ms, after.samples_ms)], dtype=torch.float64)
    wins = sum(b < a for a, b in pairs)
    return Speedup(float(ratios.quantile(0.5)), wins / len(ratios), _sign_test(wins, len(pairs)) < CERTAIN)


@door(ConfigError)
def measure(
    models: Mapping[str, nn.Module],
    example_inputs: Inputs,
    *,
    repeats: int = 100,
    limit_s: float = 8.0,
    warm_up: int = 5,
    threads: int | None = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, Latency]:
    """Time the forward passes of several PyTorch models in turns, in eval mode and without gradients.

    Args:
        models: name -> model, all on the device of the inputs; their train/eval modes are restored.
        example_inputs: a tensor, a tuple of positional or a dictionary of keyword arguments.
        repeats: samples per model, at most.
        limit_s: stop after so many seconds, but not before 20 samples per model.
        warm_up: rounds that are run and thrown away.
        threads: threads of PyTorch's CPU operators while measuring (restored afterwards); None leaves them as
            they are.
        clock: seconds, monotonic.

    Returns:
        name -> latency, in the order of `models`.

    Raises:
        ConfigError: nothing to measure, or a count below one.
    """
    with torch_runs(models, example_inputs, threads=threads) as runs:
        return take_turns(runs, repeats=repeats, limit_s=limit_s, warm_up=warm_up, clock=clock)


@door(ConfigError)
def measure_onnx(
    files: Mapping[str, Path],
    example_inputs: Inputs,
    *,
    repeats: int = 100,
    limit_s: float = 8.0,
    warm_up: int = 5,
    threads: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, Latency]:
    """Time ONNX files in ONNX Runtime's CPU provider, in turns; arguments and errors as for `measure`.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """

    runs = onnx_runs(files, example_inputs, threads=threads)
    return take_turns(runs, repeats=repeats, limit_s=limit_s, warm_up=warm_up, clock=clock)


@contextmanager
def torch_runs(
    models: Mapping[str, nn.Module],
    example_inputs: Inputs,
    *,
    threads: int | None = 1,
    prepare: Callable[[nn.Module], Callable[..., object]] = lambda model: model,
) -> Iterator[dict[str, Callable[[], None]]]:
    """Models as functions without arguments that come back when the work is done; inside the block they are
    in eval mode, without gradients.

    Args:
        models, example_inputs, threads: as for `measure`.
        prepare: from a model in eval mode to what is called instead of it.
    """
    args, kwargs = split(example_inputs)
    wait = device_barrier(tensors((args, kwargs)))

    def runner(call: Callable[..., object]) -> Callable[[], None]:
        def run() -> None:
            call(*args, **kwargs)
            wait()

        return run

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(pinned_threads(threads))
        for model in models.values():
            stack.enter_context(evaluating(model))
            called(model, args, kwargs, ConfigError)  # says what inputs it does not take
        yield {name: runner(prepare(model)) for name, model in models.items()}


def onnx_runs(
    files: Mapping[str, Path], example_inputs: Inputs, *, threads: int = 1
) -> dict[str, Callable[[], None]]:
    """ONNX files as functions without arguments, in ONNX Runtime's CPU provider. Raises MissingExtraError if
    it is not installed.
    """

    def runner(path: Path) -> Callable[[], None]:
        opened = session(path, threads=threads)
        inputs = feeds([entry.name for entry in opened.get_inputs()], example_inputs)
        opened.run(None, inputs)  # says what inputs it does not take
        return lambda: opened.inner.run(None, inputs)

    return {name: runner(path) for name, path in files.items()}


def take_turns(
    runs: Mapping[str, Callable[[], None]],
    *,
    repeats: int,
    warm_up: int,
    limit_s: float = math.inf,
    clock: Clock = time.perf_counter,
) -> dict[str, Latency]:
    """Time plain functions in turns: the loop below `measure`, for any other runtime.

    Every round takes one sample of each, in an order that is turned round each time; a sample is as many
    calls in a row as the function needs to fill two milliseconds. So samples last alike where they can: a
    longer one would meet more of what else the machine does, and a slow model would look slower than it is.
    """
    if not runs or repeats < 1 or warm_up < 1:
        raise ConfigError("Latency needs at least one model, one repeat and one round of warm-up.")
    shortest = {name: min(_sample(run, 1, clock) for _ in range(warm_up)) for name, run in runs.items()}
    calls = {
        name: max(1, math.ceil(SHORTEST_SAMPLE_S / max(seconds, 1e-9))) for name, seconds in shortest.items()
    }
    samples: dict[str, list[float]] = {name: [] for name in runs}
    order, started = list(runs), clock()
    for turn in range(repeats):
        if turn >= FEWEST_ROUNDS and clock() - started > limit_s:
            break
        for name in order if turn % 2 == 0 else reversed(order):
            samples[name].append(_sample(runs[name], calls[name], clock))
    return {name: _summary(seconds) for name, seconds in samples.items()}


def _sample(run: Callable[[], None], calls: int, clock: Clock) -> float:
    """Seconds per call, averaged over `calls` calls in a row."""
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def _summary(seconds: Sequence[float]) -> Latency:
    quartiles = torch.quantile(
        torch.tensor(seconds, dtype=torch.float64), torch.tensor([0.25, 0.5, 0.75]).double()
    )
    low, middle, high = (float(1e3 * value) for value in quartiles)
    return Latency(
        median_ms=middle,
        q25_ms=low,
        q75_ms=high,
        repeats=len(seconds),
        samples_ms=tuple(1e3 * value for value in seconds),
    )


def _sign_test(wins: int, rounds: int) -> float:
    """Two-sided p-value: how often a fair coin is at least as far from half of the rounds."""
    from scipy.special import bdtr

    return min(1.0, 2.0 * float(bdtr(min(wins, rounds - wins), rounds, 0.5)))


def device_barrier(values: Sequence[Tensor]) -> Callable[[], None]:
    """What to call so that the work is really done: GPUs run behind the Python code."""
    if any(value.is_cuda for value in values):
        return torch.cuda.synchronize
    return lambda: None


@contextmanager
def pinned_threads(threads: int | None) -> Iterator[None]:
    """So many threads for PyTorch's CPU operators for a while; None leaves them as they are."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
