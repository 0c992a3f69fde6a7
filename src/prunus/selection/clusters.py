"""A static baseline: samples of one class are clustered by their features, and one representative of each
cluster is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunus._foundation.arguments import door
from prunus.errors import ConfigError
from prunus.selection.rules import Selection

_MOST = 20_000  # samples of one class; the distances between all pairs of more would not fit into memory


@door(ConfigError)
def representatives(features: ArrayLike, labels: ArrayLike, keep: float) -> Selection:
    """Agglomerative clustering (Ward) inside every class, into `keep` times as many clusters as it has
    samples; of each the sample nearest its mean.

    Args:
        features: (N, L) numbers, such as a network's last activations or `principal_components`.
        labels: (N,) class of every sample.
        keep: part of the samples, above 0 up to 1.

    Raises:
        ConfigError: numbers out of range, or a class of more than 20,000 samples.
    """
    from scipy.cluster.hierarchy import fcluster, ward

    values, classes = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or classes.ndim != 1 or len(values) != len(classes) or not 0 < keep <= 1:
        raise ConfigError(
            f"Clustering needs (N, L) features, N labels and a part above 0 up to 1, not {values.shape},"
            f" {classes.shape} and {keep}."
        )
    kept = np.zeros(len(classes), dtype=bool)
    for kind in np.unique(classes):
        mine = np.flatnonzero(classes == kind)
        if len(mine) > _MOST:
            raise ConfigError(
                f"Class {kind} has {len(mine)} samples; clustering compares all pairs, which goes up to"
                f" {_MOST}: use aggregate instead."
            )
        count = max(1, round(keep * len(mine)))
        clusters = (
            np.ones(len(mine), dtype=np.int64)
            if len(mine) == 1
            else fcluster(ward(values[mine]), count, criterion="maxclust")
        )
        kept[mine[_nearest(values[mine], clusters)]] = True
    return Selection(kept)


def _nearest(values: NDArray[np.float64], clusters: NDArray[Any]) -> NDArray[np.int64]:
    """Of every cluster the position of the sample nearest its mean; the first of equal ones."""
    found = []
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        distances = np.square(values[members] - values[members].mean(axis=0)).sum(axis=1)
        found.append(members[distances.argmin()])
    return np.array(found, dtype=np.int64)
