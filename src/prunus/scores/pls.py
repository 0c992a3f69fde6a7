"""Partial least squares: channels whose responses say most about the labels stay (Jordao, Kloss, Yamada and
Schwartz 2018, arXiv 1810.07610).

Every channel is one feature, the largest value of what the first layer that reads it gets of it: of its map
(global max pooling, as in the authors' code), and where a global average pooling lies in between, as in front
of many classifiers, the mean that this gives (our choice: it is what the network goes on with). A PLS
regression of the labels on all features of the network has few components, and the importance of a
feature in them is

    VIP_i = sqrt(p * sum over a of SS_a (w_ia / ||w_a||)^2 / sum over a of SS_a),   SS = diag(T^T T Q^T Q),

with p features, weights w, scores T and loadings Q of the labels. The paper removes the lowest tenth again
and again with fine-tuning in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import at_least, door
from prunus._foundation.wording import given
from prunus.errors import MissingExtraError, PlanError
from prunus.observe.capture import seen_by_all
from prunus.observe.matrices import channel_axis
from prunus.paint.graph import ChannelGraph
from prunus.plans.consumers import Reader, readers
from prunus.plans.verify import evaluated_copy
from prunus.scores.reconstruction import filled

COMPONENTS = 2
UNLIKE = "The layers of this network see other numbers of samples than there are labels."


@door(PlanError)
def pls(graph: ChannelGraph, batches: Iterable[tuple[Any, Any]], components: int = COMPONENTS) -> Tensor:
    """Importance in the projection of the labels.

    Args:
        graph: a traced model.
        batches: (inputs, labels) pairs, labels (batch,) of whole numbers.
        components: of the regression.

    Returns:
        Scores, shape (num_channels,); those of channels that no plain layer reads follow their norms, around
        the mean score.

    Raises:
        PlanError: no inputs, labels that are no classes, or all of one class.
        MissingExtraError: scikit-learn is not installed.
    """
    at_least(1, components=components)
    try:
        from sklearn.cross_decomposition import PLSRegression
    except ImportError as error:
        raise MissingExtraError(
            "Partial least squares need scikit-learn: pip install 'prunus[methods]'."
        ) from error
    features, labels = _features(graph, batches)
    classes, found = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise PlanError("The calibration samples are all of one class, so no feature says anything about it.")
    known = np.flatnonzero(np.isfinite(features).all(0))
    regression = PLSRegression(n_components=min(components, len(known), len(classes) - 1)).fit(
        features[:, known], np.eye(len(classes))[found]
    )
    scores = torch.full((graph.num_channels,), torch.nan, dtype=torch.float64)
    scores[torch.from_numpy(known)] = torch.from_numpy(
        importance(regression.x_weights_, regression.x_scores_, regression.y_loadings_)
    )
    return filled(scores, graph)


def importance(
    weights: NDArray[np.float64], scores: NDArray[np.float64], loadings: NDArray[np.float64]
) -> NDArray[np.float64]:
    """VIP from weights (features, components), scores (samples, components) and loadings (labels,
    components), shape (features,).
    """
    explained = np.diag(scores.T @ scores @ loadings.T @ loadings)
    shares = (weights / np.linalg.norm(weights, axis=0)) ** 2
    result: NDArray[np.float64] = np.sqrt(len(weights) * (shares @ explained) / explained.sum())
    return result


def _features(
    graph: ChannelGraph, batches: Iterable[tuple[Any, Any]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The largest value that the first plain layer to read a channel gets of it, for every sample, (samples,
    channels), NaN where none reads it; and the labels (samples,).
    """
    first: dict[int, tuple[Reader, Tensor]] = {}
    for reader in readers(graph):
        for channel in dict.fromkeys(reader.inputs[reader.inputs >= 0].tolist()):
            slots = torch.from_numpy(np.flatnonzero(np.tile(reader.inputs, reader.groups) == channel))
            first.setdefault(channel, (reader, slots))
    names = {reader.name for reader, _ in first.values()}
    pairs = list(batches)
    if not pairs:
        raise PlanError("There is no batch of calibration inputs; at least one is needed.")
    classes = [_classes(labels) for _, labels in pairs]
    rows = []
    with evaluated_copy(graph.model) as model:
        for seen in seen_by_all(model, names, (inputs for inputs, _ in pairs)):
            largest = {}
            for name, calls in seen.items():
                largest[name] = _largest(channel_axis(graph.model.get_submodule(name)), calls)
            row = torch.full(
                (len(next(iter(largest.values()))), graph.num_channels), torch.nan, dtype=torch.float64
            )
            for channel, (reader, slots) in first.items():
                row[:, channel] = (
                    largest[reader.name][:, slots.to(largest[reader.name].device)].amax(1).double().cpu()
                )
            rows.append(row)
    if [len(row) for row in rows] != [len(labels) for labels in classes]:
        raise PlanError(UNLIKE)
    return torch.cat(rows).numpy(), torch.cat(classes).numpy()


def _largest(axis: int, calls: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The largest value that a layer gets of every channel for every sample, in any of its calls, (samples,
    channels).
    """
    maps = [inputs.movedim(axis, 1) for inputs, _ in calls]
    if len({len(one) for one in maps}) > 1:
        raise PlanError(UNLIKE)
    return torch.stack([one.flatten(2).amax(2) if one.dim() > 2 else one for one in maps]).amax(0)


def _classes(labels: Any) -> Tensor:
    """The labels of a batch on the CPU; raises PlanError for numbers to be predicted, masks, boxes."""
    if (
        not isinstance(labels, Tensor)
        or labels.dim() != 1
        or labels.is_floating_point()
        or labels.is_complex()
    ):
        what = (
            f"numbers of {labels.dtype}"
            if isinstance(labels, Tensor) and labels.dim() == 1
            else given(labels)
        )
        raise PlanError(
            "Partial least squares ask which class every sample has: labels are whole numbers (batch,), not"
            f" {what}; choose another score, such as reconstruction."
        )
    return labels.detach().cpu()
