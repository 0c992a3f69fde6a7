"""Scores: one number per channel, higher = keep. A score is a plain function of a traced graph."""

from .basic import random

__all__ = ["random"]
