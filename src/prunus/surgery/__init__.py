"""Surgery: the user's own module, smaller."""

from prunus.surgery.compact import Origin, compact
from prunus.surgery.parts import core, whole

__all__ = ["Origin", "compact", "core", "whole"]
