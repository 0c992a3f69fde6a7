"""What is timed or searched on the way is done briefly."""

from tests.brief import brief_latency, brief_search

__all__ = ["brief_latency", "brief_search"]
