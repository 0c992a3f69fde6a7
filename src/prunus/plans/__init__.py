"""Plans: which channels go, what the model computes without them, and whether another computes the same."""

from prunus.plans.mask import mask
from prunus.plans.plan import Plan, PlanGroup, Timing, Trial
from prunus.plans.verify import Verification, verify

__all__ = ["Plan", "PlanGroup", "Timing", "Trial", "Verification", "mask", "verify"]
