"""Re-estimate batch-norm statistics after surgery: the cheapest accuracy there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus._foundation.arguments import door
from prunus.data.sets import Split
from prunus.errors import ConfigError
from prunus.training.evaluation import evaluate, mode, placement
from prunus.training.feeding import Normalise, batches


@door(ConfigError)
def recalibrate(
    model: nn.Module,
    split: Split,
    normalise: Normalise,
    batches: int = 20,
    *,
    batch_size: int = 256,
    seed: int = 0,
) -> None:
    """Replace the running statistics of every batch norm by their plain average over some batches, in place.

    Removing channels shifts the distribution that later layers see. Only the layers' running mean, variance
    and batch count change; parameters, modes, momenta and the layers without statistics stay as they are. All
    else (dropout) runs in evaluation mode. If the model fails on the way, the old statistics are put back.

    Args:
        model: a network; one without batch norm is left alone.
        split: samples to estimate from, training samples as a rule.
        normalise: (mean, std) of every plane, in units of 0..1.
        batches: batches to average over, at most one pass over the split.
        batch_size: samples per batch.
        seed: which samples come, in which order.

    Raises:
        ConfigError: `batches` is below 1.
    """
    if batches < 1:
        raise ConfigError(f"batches must be at least 1, not {batches}.")
    norms = _norms(model)
    if not norms:
        return
    device, dtype = placement(model)
    generator = torch.Generator().manual_seed(seed)
    fed = _batches(split.to(device), normalise, batch_size, generator=generator, dtype=dtype)
    with mode(model, training=False), _estimating(norms), torch.no_grad():
        for images, _ in islice(fed, batches):
            seen(partial(model, images))


@door(ConfigError)
def recalibrate_if_better(
    model: nn.Module, split: Split, normalise: Normalise, validation: Split | None
) -> bool:
    """`recalibrate`, and back to the old statistics if fewer held-out samples are told right with the new
    ones; whether they stayed.

    What a refitted network gets wrong is seldom a matter of its statistics, and those of a whole training
    with augmentation may be better than those of some batches. Without held-out samples the new ones stay.
    """
    judge = None if validation is None else lambda network: evaluate(network, validation, normalise).accuracy
    return _if_better(model, lambda: recalibrate(model, split, normalise), judge)


@door(ConfigError)
def recalibrate_on(
    model: nn.Module, run: Callable[[], None], judge: Callable[[nn.Module], float] | None
) -> bool:
    """New statistics of a model of any kind, and back to the old ones if these are worse; whether they
    stayed.

    Args:
        model: a network; one without batch norm is left alone.
        run: runs it on training inputs, without gradients and in evaluation mode but for the batch norms.
        judge: model -> how good it is, higher is better; None keeps the new statistics.
    """
    norms = _norms(model)

    def estimate() -> None:
        with mode(model, training=False), _estimating(norms), torch.no_grad():
            run()

    return _if_better(model, estimate, judge) if norms else True


def seen(run: Callable[[], object]) -> None:
    """Run on one batch. Where that ends at a norm which it gives one value per channel, as a single sample
    does behind a pooling over all positions, the norms from there on have seen one batch less.
    """
    with suppress(_OneValueError):
        run()


class _OneValueError(Exception):
    """A norm is about to estimate the variance of one value."""


def _refuse_one_value(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Before torch does, which has counted the batch by then."""
    if inputs[0].numel() == inputs[0].shape[1]:
        raise _OneValueError


def _if_better(
    model: nn.Module, estimate: Callable[[], None], judge: Callable[[nn.Module], float] | None
) -> bool:
    norms = _norms(model)
    saved = [{name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)} for norm in norms]
    before = judge(model) if judge is not None else 0.0
    estimate()
    if judge is None or judge(model) >= before:
        return True
    _restore(norms, saved)
    return False


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [
        module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats
    ]


def _restore(norms: list[_BatchNorm], saved: list[dict[str, Tensor]]) -> None:
    for norm, buffers in zip(norms, saved):
        for name, buffer in norm.named_buffers(recurse=False):
            buffer.copy_(buffers[name])


_batches = batches  # `recalibrate` has a parameter of that name


@contextmanager
def _estimating(norms: list[_BatchNorm]) -> Iterator[None]:
    """Batch norms that start anew and average cumulatively (momentum None); modes are the caller's to
    restore. Those that see nothing keep what they had.
    """
    momenta = [norm.momentum for norm in norms]
    hooks = [norm.register_forward_pre_hook(_refuse_one_value) for norm in norms]
    saved = [{name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)} for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.training = True
        yield
        unseen = [number for number, norm in enumerate(norms) if not norm.num_batches_tracked]
        _restore([norms[number] for number in unseen], [saved[number] for number in unseen])
    except BaseException:
        _restore(norms, saved)
        raise
    finally:
        for norm, momentum, hook in zip(norms, momenta, hooks):
            norm.momentum = momentum
            hook.remove()
