"""What layers get and make on real inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from prunus.errors import PlanError
from prunus.paint.inputs import Inputs, as_arguments, called


def check_repeatable(batches: Iterable[Inputs]) -> None:
    """Raises PlanError for an iterator, which could be read only once."""
    if iter(batches) is batches:
        raise PlanError(
            "The calibration inputs are read several times; give a list of batches instead of an iterator."
        )


def check_finite(name: str, found: Tensor) -> None:
    """Raises PlanError where what a layer got on all inputs, its sums or itself, is no number."""
    if not bool(found.isfinite().all()):
        raise PlanError(
            f"What {name or 'the network'} gets on the calibration inputs holds NaN or infinity, so nothing"
            " can be said about its channels: mend the network's weights, or leave such inputs out."
        )


def seen_by_all(
    model: nn.Module, names: Iterable[str], batches: Iterable[Inputs]
) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """What several layers get and make in each of their calls, batch by batch."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def look(name: str, inputs: Tensor, outputs: Tensor) -> None:
        found.setdefault(name, []).append((inputs, outputs))

    for _ in look_at(model, names, batches, look):
        yield dict(found)
        found.clear()


def look_at(
    model: nn.Module,
    names: Iterable[str],
    batches: Iterable[Inputs],
    look: Callable[[str, Tensor, Tensor], None],
) -> Iterator[None]:
    """Run a network on batches, and tell `look` what several layers get and make as they run (name, inputs,
    outputs), so that nobody need hold all of it; yields after every batch.
    """

    def heard(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        look(name, args[0] if args else kwargs["input"], output)

    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda module, args, kwargs, output, name=name: heard(name, args, kwargs, output),
            with_kwargs=True,
        )
        for name in names
    ]
    try:
        for batch in batches:
            args, kwargs = as_arguments(batch)
            called(model, args, kwargs)
            yield
    finally:
        for handle in handles:
            handle.remove()
