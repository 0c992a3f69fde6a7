"""What `benchmarks.coding` codes after the training: networks with public weights, and what is measured of
them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.methods_subjects import IMAGENET, MOBILENET, imagenet_sample
from prunus import data, models
from prunus.data import Split
from prunus.models import load_weights
from prunus.paint.model_copy import copy_model, named_tensors
from prunus.training import Normalise
from prunus.training.feeding import batches

NUMBERS = 1 << 22  # in images that are read at once


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network and its samples.

    Attributes:
        model: in evaluation mode.
        calibration: training samples, which quantisers look at.
        measured: samples to report on.
        normalise: of both.
        logits: of the network on the measured samples, (samples, classes).
    """

    model: nn.Module
    calibration: Split
    measured: Split
    normalise: Normalise
    logits: Tensor

    def found(self, model: nn.Module) -> dict[str, object]:
        """Accuracy [%] before and after, and the divergence [nats], of a network made of this one."""
        after = logits_of(model, self.measured, self.normalise)
        return {
            "samples": len(self.measured),
            "accuracy": {
                "before": accuracy(self.logits, self.measured.labels),
                "after": accuracy(after, self.measured.labels),
            },
            "divergence": divergence(self.logits, after),
        }


def subject(options: argparse.Namespace) -> Subject:
    """The network that the command names."""
    from tests.torchvision_shim import missing

    if options.network == MOBILENET:
        if reason := missing("torchvision"):
            raise SystemExit(reason)
        calibration, measured = imagenet_sample(options.data)
        model = models.build(options.network, num_classes=1000)
    else:
        images = data.load("cifar10", options.data)
        calibration, measured = images.train, images.test
        model = models.build(options.network, num_classes=10)
    load_weights(model, options.weights)
    model = model.eval()
    return Subject(model, calibration, measured, IMAGENET, logits_of(model, measured, IMAGENET))


@torch.no_grad()
def logits_of(model: nn.Module, split: Split, normalise: Normalise) -> Tensor:
    """What a network says of samples, (samples, classes), float32."""
    model = model.eval()
    at_once = max(1, NUMBERS // split.images[0].numel())
    return torch.cat([model(images).float() for images, _ in batches(split, normalise, at_once)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """In percent."""
    return round(100 * float((logits.argmax(1) == labels).double().mean()), 2)


def divergence(before: Tensor, after: Tensor) -> float:
    """The mean Kullback-Leibler divergence of class probabilities from those of `before` [nats]."""
    own, other = F.log_softmax(before.double(), 1), F.log_softmax(after.double(), 1)
    return float(F.kl_div(other, own, reduction="batchmean", log_target=True))


def informative(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """The parameters that are not one number alone, as folded norms have it: what has to be coded."""
    found = {}
    for name, tensor in named_tensors(model).items():
        values = tensor.detach().float().numpy()
        if isinstance(tensor, nn.Parameter) and values.size and (values != values.flat[0]).any():
            found[name] = np.ascontiguousarray(values)
    return found


@torch.no_grad()
def with_values(model: nn.Module, values: Mapping[str, NDArray[np.float32]]) -> nn.Module:
    """A copy of a network with other values."""
    copied = copy_model(model, {}).eval()
    tensors = named_tensors(copied)
    for name, value in values.items():
        tensors[name].copy_(torch.from_numpy(value).reshape(tensors[name].shape))
    return copied
