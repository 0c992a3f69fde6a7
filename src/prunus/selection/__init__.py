"""Critical-data selection: aggregate samples once, score the aggregated points every epoch, train on what matters.

subsets = aggregate(labels, principal_components(images, 16))
coarse = means(images, subsets.subset_of_sample, len(subsets))
selection = critical(effect(model(coarse), subsets.labels), subsets, fine_effects)
"""

from __future__ import annotations

from .attributes import principal_components, variance_pixels
from .effect import cross_entropy, doubt, margin
from .rules import Selection, area, at_random, critical, easy_dropped, everything, fixed_ratio, guarded, mean_division
from .subsets import Subsets, aggregate, means

__all__ = [
    "Selection",
    "Subsets",
    "aggregate",
    "area",
    "at_random",
    "critical",
    "cross_entropy",
    "doubt",
    "easy_dropped",
    "everything",
    "fixed_ratio",
    "guarded",
    "margin",
    "mean_division",
    "means",
    "principal_components",
    "variance_pixels",
]
