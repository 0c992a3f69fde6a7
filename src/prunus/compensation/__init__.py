"""Compensation: what is left learns, in closed form, to make up for the channels that went."""

from prunus.compensation.merge import merge
from prunus.compensation.refit import refit, restore_means

__all__ = ["merge", "refit", "restore_means"]
