"""Every error that prunus raises on purpose: one clear sentence that names what, where and what would be
right.
"""

from __future__ import annotations


class PrunusError(Exception):
    """Base of all errors raised on purpose by prunus; its text is meant for the user."""


class ArgumentError(PrunusError, TypeError):
    """An argument is of another kind than the function takes; the text names it, what was given and what
    would be right.
    """


class TraceError(PrunusError):
    """The model could not be run on meta tensors, for example because its control flow
    depends on the data.
    """


class PlanError(PrunusError):
    """A plan does not fit the model, names something that does not exist, or cannot be read."""


class TargetError(PrunusError):
    """A target cannot be reached or is not a sensible number; the text says the smallest reachable figure."""


class CompactError(PrunusError):
    """A plan could not be turned into a compact model; the user's model is unchanged."""


class VerifyError(PrunusError):
    """A compact model does not compute the same function as the masked one."""


class FileFormatError(PrunusError):
    """A file is truncated, tampered with, or not of the format it should be."""


class DataError(PrunusError):
    """A data set is missing, incomplete, or fails its checksum."""


class MissingExtraError(PrunusError):
    """An optional dependency is not installed; the text names the extra."""


class ModelNameError(PrunusError):
    """No model has this name; the text gives the nearest one."""


class HubError(PrunusError):
    """The Hub cannot be reached, refuses, or has nothing of that name; no token is in the text, nor in what
    hangs on the error.
    """


class ConfigError(PrunusError):
    """A setting is unknown or out of range."""


def clause(error: BaseException) -> str:
    """What an error says, as the end of another sentence: in one line, without its full stop and, where a
    word begins it, without its capital.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    text = text[:-1] if text.endswith(".") and not text.endswith("..") else text
    word = text.partition(" ")[0]
    return text[0].lower() + text[1:] if word.istitle() and word.isalpha() else text
