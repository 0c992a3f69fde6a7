"""Integrations: the callbacks of the training loop in loops that others wrote.

Each file is one of theirs, and knows nothing that `prunus` does not offer to everybody: a network is trained
by whoever trains it, `prunus.training.Pruning` is told about its steps and epochs, and at the end stands what
`prunus.compact` makes of it.
"""

from __future__ import annotations

from prunus._foundation.lazy import files_of

__all__ = ["lightning", "transformers"]

__getattr__ = files_of(__name__, __all__)
