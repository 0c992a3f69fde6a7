"""Scores: one number per channel, higher = keep. A score is a plain function of a traced graph.

Scores of other packages (entry points of the group `prunus.scores`) are found here by their names, too.
"""

from typing import TYPE_CHECKING

from prunus.scores.activation import activation_mean
from prunus.scores.batchnorm import bn_scale
from prunus.scores.car import car
from prunus.scores.chance import random
from prunus.scores.extended import attribute
from prunus.scores.geometric_median import geometric_median
from prunus.scores.greedy import greedy_norm
from prunus.scores.lasso import lasso
from prunus.scores.nisp import nisp
from prunus.scores.norm import norm
from prunus.scores.pls import pls
from prunus.scores.reconstruction import reconstruction
from prunus.scores.reduce import per_channel, weight_axes
from prunus.scores.similarity import Similarity, similarity
from prunus.scores.taylor import taylor
from prunus.scores.thinet import thinet

__all__ = [
    "Similarity",
    "activation_mean",
    "bn_scale",
    "car",
    "geometric_median",
    "greedy_norm",
    "lasso",
    "nisp",
    "norm",
    "per_channel",
    "pls",
    "random",
    "reconstruction",
    "similarity",
    "taylor",
    "thinet",
    "weight_axes",
]

if not TYPE_CHECKING:  # a type checker knows the names above alone
    __getattr__ = attribute(__name__, __all__)
