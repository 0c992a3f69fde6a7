"""Scores: one number per channel, higher = keep. A score is a plain function of a traced graph."""

from .activation import activation_mean
from .batchnorm import bn_scale
from .chance import random
from .geometric_median import geometric_median
from .norm import norm
from .reduce import per_channel, weight_axes
from .taylor import taylor

__all__ = ["activation_mean", "bn_scale", "geometric_median", "norm", "per_channel", "random", "taylor", "weight_axes"]
