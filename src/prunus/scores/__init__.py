"""Scores: one number per channel, higher = keep. A score is a plain function of a traced graph."""

from .activation import activation_mean
from .batchnorm import bn_scale
from .car import car
from .chance import random
from .geometric_median import geometric_median
from .greedy import greedy_norm
from .lasso import lasso
from .nisp import nisp
from .norm import norm
from .pls import pls
from .reconstruction import reconstruction
from .reduce import per_channel, weight_axes
from .similarity import Similarity, similarity
from .taylor import taylor
from .thinet import thinet

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
