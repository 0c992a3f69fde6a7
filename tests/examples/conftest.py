"""What is timed on the way is timed briefly."""

from tests.brief import brief_latency

__all__ = ["brief_latency"]
