"""LASSO channel selection (He, Zhang and Sun 2017, "Channel Pruning for Accelerating Very Deep Neural
Networks", arXiv 1707.06168, section 3.1).

min over beta of 1/2 ||y - sum_i beta_i z_i||^2 + lambda ||beta||_1, where z_i is what channel i adds to the
next layer's outputs y = sum_i z_i. The paper raises lambda until few enough channels are left; the largest
lambda at which a channel is still used says the same for every number at once, and LARS finds it (Efron et
al. 2004). The paper's second step, least squares for the weights that are left, is
`prunus.compensation.refit`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import MissingExtraError, PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.scores.products import families
from prunus.scores.reconstruction import filled
from prunus.scores.thinet import joined


@door(PlanError)
def lasso(graph: ChannelGraph, batches: Iterable[Inputs]) -> Tensor:
    """The largest penalty, relative to the next layers' outputs, under which a channel is used.

    Args:
        graph: a traced model.
        batches: calibration inputs, as the model takes them.

    Returns:
        Scores, shape (num_channels,); see `reconstruction` for channels that nothing is known about.

    Raises:
        PlanError: there are no inputs, or they can be read only once.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import lars_path_gram
    except ImportError as error:
        raise MissingExtraError(
            "LASSO channel selection needs scikit-learn: pip install 'prunus[methods]'."
        ) from error
    scores = torch.full((graph.num_channels,), torch.nan, dtype=torch.float64)
    for family in families(graph, batches):
        channels, together = joined(family)
        gram = together.numpy()
        penalties, _, path = lars_path_gram(gram.sum(1), gram, n_samples=1, method="lasso", return_path=True)
        used = abs(path) > 0
        for position, channel in enumerate(channels):
            first = used[position].argmax() if used[position].any() else len(penalties) - 1
            # a channel comes in at the knot before it differs from 0
            scores[channel] = float(penalties[max(first - 1, 0)])
    return filled(scores, graph)
