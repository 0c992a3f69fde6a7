"""Critical-data selection: aggregate samples once, score the aggregated points every epoch, train on what
matters.

subsets = aggregate(labels, principal_components(images, 16))
curriculum = Scheduled(Aggregated(Points(images, subsets, normalise), critical), labels, warmup=5)
train(model, data.train, config, normalise=normalise, curriculum=curriculum)
"""

from __future__ import annotations

from prunus.selection.attributes import latent_factors, principal_components, variance_pixels
from prunus.selection.clusters import representatives
from prunus.selection.curricula import Aggregated, Forgetting, Random, Scheduled, Static
from prunus.selection.effect import cross_entropy, doubt, el2n, gradient_norm, margin, pixel_divergence
from prunus.selection.loss_curricula import EasyDropped, ImportanceSampled, LowerBound, SlidingWindow
from prunus.selection.losses import batchwise_largest, importance_sampled, lower_bound, sliding_window
from prunus.selection.masks import Masks
from prunus.selection.points import Points, of_logits
from prunus.selection.proxy import Filtered, Proxy
from prunus.selection.rules import (
    Selection,
    area,
    at_random,
    critical,
    easy_dropped,
    everything,
    fixed_ratio,
    guarded,
    mean_division,
)
from prunus.selection.subsets import Subsets, aggregate, means

__all__ = [
    "Aggregated",
    "EasyDropped",
    "Filtered",
    "Forgetting",
    "ImportanceSampled",
    "LowerBound",
    "Masks",
    "Points",
    "Proxy",
    "Random",
    "Scheduled",
    "Selection",
    "SlidingWindow",
    "Static",
    "Subsets",
    "aggregate",
    "area",
    "at_random",
    "batchwise_largest",
    "critical",
    "cross_entropy",
    "doubt",
    "easy_dropped",
    "el2n",
    "everything",
    "fixed_ratio",
    "gradient_norm",
    "guarded",
    "importance_sampled",
    "latent_factors",
    "lower_bound",
    "margin",
    "mean_division",
    "means",
    "of_logits",
    "pixel_divergence",
    "principal_components",
    "representatives",
    "sliding_window",
    "variance_pixels",
]
