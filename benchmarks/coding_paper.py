"""Deep Compression as its paper has it (Han, Mao and Dally 2016, arXiv 1510.00149), run by us on MNIST.

Magnitude pruning to the paper's shares of every layer in some rounds with retraining (Han et al. 2015,
"Learning both Weights and Connections", arXiv 1506.02626), k-means shared weights with centroids that are
tuned, and Huffman codes of the indices and of the gaps between what is not zero. The bytes are those of the
stream, of the centroids and of the biases, float32 both; no header is counted, as in the paper.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.coding_files import MODULE, RESULT, key_of, parameters, tell
from benchmarks.coding_floats import SOURCES, accuracies, called, how, task_of, trained_float
from benchmarks.coding_table import PAPER
from benchmarks.rows import Row, add, measured_before
from prunus.coding import huffman
from prunus.coding.tensors import Codebook
from prunus.quantisation.codebook import share_weights, tune_centroids
from prunus.quantisation.quantised import Quantised
from prunus.tasks import Task
from prunus.training import TrainConfig
from prunus.training.hooks import Pruning

WAY = "pruned, shared, Huffman"
ROUNDS: dict[str, Any] = {"rounds": 3, "epochs": 8, "lr": 1e-3, "optimizer": "adam", "weight_decay": 0.0}
TUNING: dict[str, Any] = {"epochs": 5, "lr": 1e-4, "optimizer": "adam", "weight_decay": 0.0}
# The shares of the weights that the paper keeps (tables 2 and 3), and the bits of an index.
KEPT = {
    "lenet5": {"conv1.weight": 0.66, "conv2.weight": 0.12, "fc1.weight": 0.08, "fc2.weight": 0.19},
    "lenet300": {"fc1.weight": 0.08, "fc2.weight": 0.09, "fc3.weight": 0.26},
}
BITS = {"lenet5": {"bits": 8, "linear_bits": 5}, "lenet300": {"linear_bits": 6}}


def paper(result: Row, options: argparse.Namespace) -> None:
    """Rows of the paper's recipe."""
    task, name = task_of(options), options.network
    options.called = called(options)
    for seed in options.seeds:
        key = key_of(options, PAPER, WAY, 0, seed)
        if measured_before(result, key):
            continue
        before = trained_float(options, task, seed, augmented=False)
        sparse = pruned(before, task, KEPT[name], seed)
        shared = share_weights(sparse, **BITS[name])
        tuned = tune_centroids(shared, task, config=TrainConfig(**TUNING, seed=seed), validation=None)
        row = (
            key
            | dict.fromkeys(("parameters", "dense"), parameters(before))
            | bytes_of(tuned)
            | accuracies(task, before=before, after=tuned.model)
        )
        settings = {
            "float": SOURCES[name].recipe,
            "pruning": ROUNDS,
            "kept": KEPT[name],
            **BITS[name],
            "tuning": TUNING,
        }
        add(RESULT, result, row, how(MODULE, seed, settings))
        tell(row)


def pruned(model: nn.Module, task: Task, shares: dict[str, float], seed: int) -> nn.Module:
    """The network with these shares of its largest weights, removed round by round, each retrained."""
    network = copy.deepcopy(model)
    settings = {name: value for name, value in ROUNDS.items() if name != "rounds"}
    for number in range(1, ROUNDS["rounds"] + 1):
        now = {name: share ** (number / ROUNDS["rounds"]) for name, share in shares.items()}
        mask = Sparsity({name: largest(network.get_parameter(name), share) for name, share in now.items()})
        mask.after_step(network)
        task.fit(network, TrainConfig(**settings, seed=seed), pruning=mask, validation=None)
    return network.eval()


def largest(weight: Tensor, share: float) -> Tensor:
    """Where the share of the largest magnitudes lies."""
    count = round(share * weight.numel())
    found = torch.zeros(weight.numel(), dtype=torch.bool)
    found[weight.detach().abs().flatten().topk(count).indices] = True
    return found.view_as(weight)


class Sparsity(Pruning):
    """Keeps what is removed at zero."""

    def __init__(self, kept: dict[str, Tensor]) -> None:
        self.kept = kept

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Zero again."""
        for name, kept in self.kept.items():
            model.get_parameter(name).mul_(kept)


def bytes_of(found: Quantised) -> Row:
    """Of the Huffman stream, and of what is stored beside it."""
    books = [coded for coded in found.tensors.values() if isinstance(coded, Codebook)]
    stream = len(huffman.encode([book.indices for book in books]))
    centroids = sum(book.centroids.nbytes for book in books)
    plain = sum(4 * one.numel() for one in found.model.parameters() if one.dim() < 2)
    parts = {"stream": stream, "centroids": centroids, "biases": plain}
    return {"bytes": sum(parts.values()), "parts": parts}
