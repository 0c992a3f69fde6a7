"""Compensation: what is left learns, in closed form, to make up for the channels that went."""

from .merge import merge
from .refit import refit, restore_means

__all__ = ["merge", "refit", "restore_means"]
