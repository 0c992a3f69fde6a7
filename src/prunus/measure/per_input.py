"""Latency input by input, for networks that do more for one input than for another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prunus.errors import ConfigError
from prunus.measure.timing import Clock


def over_inputs(
    runs: Mapping[str, Callable[[Any], object]],
    inputs: Sequence[Any],
    *,
    repeats: int = 5,
    warm_up: int = 3,
    clock: Clock = time.perf_counter,
) -> dict[str, Tensor]:
    """Milliseconds of every input, for several functions in turns: the median of its repeats, shape
    (inputs,); the quantiles over these are p50, p95.

    Args:
        runs: name -> what is called with an input: a network in eval mode, a session.
        inputs: real ones.
        repeats: times that each is run on each input.
        warm_up: calls of each with the first input that are thrown away.
        clock: seconds, monotonic.

    Raises:
        ConfigError: nothing to measure, or a count below one.
    """
    if not runs or not inputs or repeats < 1 or warm_up < 1:
        raise ConfigError("Latency needs at least one model, one input, one repeat and one round of warm-up.")
    for _ in range(warm_up):
        for run in runs.values():
            run(inputs[0])
    samples = torch.zeros(len(runs), len(inputs), repeats, dtype=torch.float64)
    order = list(enumerate(runs.values()))
    for turn in range(repeats):
        for index, one in enumerate(inputs):
            for number, run in order if (turn + index) % 2 == 0 else reversed(order):
                start = clock()
                run(one)
                samples[number, index, turn] = 1e3 * (clock() - start)
    return dict(zip(runs, samples.median(2).values))
