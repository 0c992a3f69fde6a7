"""Several processes that train one model: who computes what, and how it comes together again.

Every process draws the same order and the same augmentation; each computes its share of every batch.
Gradients are averaged by torch's DistributedDataParallel, weighted so that the step is that of the whole
batch, whether or not it can be divided evenly.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from prunus._foundation.launch import check_meeting, launch
from prunus.errors import ConfigError
from prunus.selection.rules import Selection


@dataclass(frozen=True)
class Ranks:
    """This process among `count`, counted from 0. With one process nothing is exchanged."""

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> Ranks:
        """As the process group says; one process without a group."""
        if not (dist.is_available() and dist.is_initialized()):
            return Ranks()
        return Ranks(dist.get_rank(), dist.get_world_size())

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of a batch of `count`; the parts differ by one at most.

        Raises ConfigError if there are fewer samples than processes.
        """
        if count < self.count:
            raise ConfigError(
                f"A batch of {count} samples cannot be shared by {self.count} processes: use larger batches"
                " or fewer processes."
            )
        return slice(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if not self.alone:
            dist.all_reduce(values)
        return values

    def whole(self, part: Tensor, count: int) -> Tensor:
        """A batch of `count` numbers, put together from every process's part."""
        if self.alone:
            return part
        result = part.new_zeros(count)
        result[self.share(count)] = part
        return self.total(result)

    def agreed(self, selection: Selection | None, samples: int, device: torch.device) -> Selection | None:
        """The first process's selection, in all processes."""
        if self.alone:
            return selection
        # two flags: whether there is a selection, and weights
        kept = torch.zeros(samples + 2, dtype=torch.float32, device=device)
        weights = torch.ones(samples, dtype=torch.float32, device=device)
        if self.first and selection is not None:
            kept[0], kept[1] = 1, float(selection.weights is not None)
            kept[2:] = torch.from_numpy(selection.kept).to(kept)
            if selection.weights is not None:
                weights = torch.from_numpy(selection.weights).to(weights)
        dist.broadcast(kept, 0)
        dist.broadcast(weights, 0)
        if not kept[0]:
            return None
        return Selection((kept[2:] > 0).cpu().numpy(), weights.cpu().numpy() if kept[1] else None)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model as its forward must be called, so that gradients are averaged."""
        if self.alone:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)

    def seed_step(self, seed: int, step: int, device: torch.device) -> None:
        """Make the model's own randomness (dropout) a function of process and step, so that it can be
        resumed; alone it is one long stream.
        """
        if not self.alone:
            seed_device(hash((seed, self.rank, step)) % 2**63, device)

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's numbers."""
        if not self.alone:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    @property
    def device(self) -> torch.device:
        """The device that this process should work on: its own GPU where there are some."""
        return torch.device("cuda", launch().local) if torch.cuda.is_available() else torch.device("cpu")


def seed_device(seed: int, device: torch.device) -> None:
    """Seed torch's generator of the CPU, and that of a GPU if the device is one."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the group that `torchrun` has set up, if it has: gloo for what is on the CPU, NCCL for what is on
    a GPU. Raises ConfigError where the environment speaks of others, and not so that they can meet.
    """
    if launch().count < 2:
        yield Ranks()
        return
    check_meeting()
    with joined("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo") as ranks:
        yield ranks


@contextmanager
def joined(backend: str, **where: Any) -> Iterator[Ranks]:
    """Join a group, and leave it so that none of its threads outlives it: a process that ends beside them may
    abort.

    Args:
        backend, where: arguments of `torch.distributed.init_process_group`.
    """
    import torch.distributed.nn.functional  # noqa: F401  # torch does so later: with a group, defaults of its functions keep that

    dist.init_process_group(backend, **where)
    try:
        yield Ranks.current()
        # torchrun stops all processes when one ends badly: none leaves before the first one has written
        # everything
        dist.barrier()
    finally:
        gc.collect()  # a wrapped model that is still there keeps the group
        dist.destroy_process_group()
